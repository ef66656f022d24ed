"""`hmsactd config`: the effective settings, as a settings file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import click

from hmsactd.commands.settings import settings_options

if TYPE_CHECKING:
    from hmsactd.settings.settings import Settings


@click.command()
@settings_options
@click.option("--explain", is_flag=True, help="With the manual of each setting.")
def config(settings: Settings, explain: bool) -> None:
    """Print the effective settings as a settings file, secrets masked."""
    click.echo("\n".join(_toml(settings, explain)))


def _toml(settings: Settings, explain: bool) -> Iterator[str]:
    """The settings as TOML."""
    return _table((), settings, settings.model_dump(mode="json"), explain)


def _table(path: tuple[str, ...], part: Any, told: Mapping[str, Any], explain: bool) -> Iterator[str]:
    """A part of the settings: what belongs to no table within it first."""
    # A table whose keys the operator chooses has no fields, and nothing to say of them.
    fields = {} if isinstance(part, Mapping) else type(part).model_fields
    for name, value in told.items():
        if not isinstance(value, dict):
            yield from _comment(fields[name].description if fields else None, explain)
            yield _entry(name, value)
    for name, value in told.items():
        if isinstance(value, dict):
            inner = getattr(part, name) if fields else part[name]
            yield ""
            yield from _comment((fields[name].description or type(inner).__doc__) if fields else None, explain)
            yield f"[{'.'.join(map(_key, (*path, name)))}]"
            yield from _table((*path, name), inner, value, explain)


def _key(name: str) -> str:
    return name if name.replace("_", "").isalnum() and name.isascii() else _quoted(name)


def _entry(name: str, value: object) -> str:
    # What is not said has no spelling in TOML.
    key = _key(name)
    if value is None:
        return f"# {key} ="
    return f"{key} = {_quoted(value) if isinstance(value, str) else json.dumps(value)}"


def _quoted(text: str) -> str:
    # JSON's strings are TOML's, but for DEL, which TOML wants escaped.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _comment(text: str | None, explain: bool) -> Iterator[str]:
    for line in wrap(" ".join((text or "").split()), 100) if explain else ():
        yield f"# {line}"
