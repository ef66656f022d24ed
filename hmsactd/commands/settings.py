"""The options by which every command of the daemon is told its settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import wraps
from pathlib import Path
from typing import Any, NoReturn

import click

from hmsactd.commands.ending import WRONG_USAGE, end
from hmsactd.errors import SettingsRefused


def _as_wrong_usage(refused: SettingsRefused, **_others: Any) -> NoReturn:
    end(WRONG_USAGE, *refused.faults)


def settings_options(
    command: Callable[..., None], refused: Callable[..., NoReturn] = _as_wrong_usage
) -> Callable[..., None]:
    """The options by which settings are told; the command gets them as Settings, `refused` what is wrong with them."""

    @click.option("--config", type=click.Path(path_type=Path), metavar="FILE", help="Settings, in TOML.")
    @click.option("--data", metavar="DIR", help="Where the database and the keys are.")
    @click.option("--grpc", metavar="HOST:PORT", help="Where clients and workers connect.")
    @click.option("--http", metavar="HOST:PORT", help="Where /metrics, /healthz and /readyz are.")
    @click.option("--dev", is_flag=True, default=None, help="Development: anybody on this machine is let in.")
    @click.option("--test-clock", is_flag=True, default=None, hidden=True, help="A clock that tests can move.")
    @click.option("--log-level", metavar="LEVEL", help="debug, info, warning or error.")
    @wraps(command)
    def told(
        config: Path | None,
        data: str | None,
        grpc: str | None,
        http: str | None,
        dev: bool | None,
        test_clock: bool | None,
        log_level: str | None,
        **others: Any,
    ) -> None:
        from hmsactd.settings.load import load

        flags = {
            "data": {"directory": data},
            "grpc": {"listen": grpc},
            "http": {"listen": http},
            "log": {"level": log_level},
            "dev": dev,
            "test_clock": test_clock,
        }
        try:
            settings = load(config, _said(flags))
        except SettingsRefused as faulty:
            refused(faulty, **others)
        command(settings=settings, **others)

    return told


def _said(flags: Mapping[str, Any]) -> dict[str, Any]:
    """The flags that were given."""
    given = {name: _said(value) if isinstance(value, dict) else value for name, value in flags.items()}
    return {name: value for name, value in given.items() if value is not None and value != {}}
