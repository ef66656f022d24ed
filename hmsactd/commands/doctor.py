"""`hmsactd doctor`: what is wrong with a daemon's surroundings and data, and what to do."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING, Any, NoReturn

import click

from hmsactd.commands.ending import REFUSED, say
from hmsactd.commands.settings import settings_options

if TYPE_CHECKING:
    from hmsactd.doctor.finding import Finding
    from hmsactd.errors import SettingsRefused
    from hmsactd.settings.settings import Settings


def _as_a_finding(refused: SettingsRefused, as_json: bool = False, **_others: Any) -> NoReturn:
    """Settings that can't be used are the first thing that a doctor finds, and the last that can be looked at."""
    from hmsactd.doctor.finding import fail

    _tell_findings((fail("settings", fault) for fault in refused.faults), as_json)


@click.command()
@partial(settings_options, refused=_as_a_finding)
@click.option("--full", is_flag=True, help="Read the whole log: every page, record and seal. Takes a minute a GB.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def doctor(settings: Settings, full: bool, as_json: bool) -> None:
    """Look at settings, keys, clock, disk, schema and seals, and say what to do. Changes nothing.

    Give it the settings of the daemon, which may run meanwhile. Exits with 1 if something is a FAIL.
    """
    from hmsactd.doctor.examine import examine

    async def collect() -> list[Finding]:
        return [finding async for finding in examine(settings, is_full=full)]

    _tell_findings(asyncio.run(collect()), as_json)


def _tell_findings(findings: Iterable[Finding], as_json: bool) -> NoReturn:
    from hmsactd.doctor.finding import Level

    found = list(findings)
    is_well = all(finding.level is not Level.FAIL for finding in found)
    if as_json:
        told = [{"check": each.about, "result": each.level.value, "sentence": each.sentence} for each in found]
        click.echo(json.dumps({"ok": is_well, "findings": told}, indent=1))
    else:
        for finding in found:
            say(str(finding))
    raise SystemExit(0 if is_well else REFUSED)
