"""`hmsactd token`: API tokens for programs."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, TypeVar

import click

from hmsactd.commands.ending import REFUSED, WRONG_USAGE, end, say
from hmsactd.commands.settings import settings_options

if TYPE_CHECKING:
    from hmsactd.identity.api_tokens import TokenFile
    from hmsactd.settings.settings import Settings

T = TypeVar("T")

DAYS_MAX: Final = 366
"""A token that lasts longer is forgotten where it lies."""


@click.group()
def token() -> None:
    """API tokens for programs: make them, list them, end them. The daemon may run meanwhile."""


@token.command("create")
@click.argument("workload")
@click.option("--days", type=click.IntRange(1, DAYS_MAX), default=90, show_default=True, help="How long it lasts.")
@click.option("--note", default="", metavar="TEXT", help="What it is for, such as the host that has it.")
@settings_options
def create(settings: Settings, workload: str, days: int, note: str) -> None:
    """Make a token for a WORKLOAD of the settings, and print it: it is shown this once, and kept nowhere."""
    from hmsactd.identity.api_token import fresh

    if workload not in settings.identity.workloads:
        known = ", ".join(settings.identity.workloads) or "none"
        end(WRONG_USAGE, f"{workload}: the settings have no such workload ([identity.workloads]); there are: {known}")
    text, made = fresh(workload, days, note)
    _with_tokens(settings, lambda file: file.add(made))
    click.echo(text)
    click.echo(f"{made.id} for {workload}, until {_day(made.expires_at)}. It is not shown again.", err=True)


@token.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@settings_options
def list_tokens(settings: Settings, as_json: bool) -> None:
    """List all tokens, ended ones too, without what they are."""
    from hmsactd.identity.api_token import standing

    found = _with_tokens(settings, lambda file: file.tokens())
    if as_json:
        told = [
            {name: value for name, value in asdict(each).items() if name != "digest"} | {"state": standing(each)}
            for each in found
        ]
        click.echo(json.dumps({"tokens": told}, indent=1))
        return
    for each in found:
        say(f"{each.id}  {standing(each):8}  until {_day(each.expires_at)}  {each.principal}  {each.note}".rstrip())


@token.command("revoke")
@click.argument("token_id", metavar="ID")
@settings_options
def revoke(settings: Settings, token_id: str) -> None:
    """End a token. A daemon that runs knows within two seconds, and ends the streams that were opened with it."""
    from hmsactd.clock import real_time

    ended = _with_tokens(settings, lambda file: file.revoke(token_id, real_time()))
    say(f"{ended.id} of {ended.principal} lets nobody in any more")


def _with_tokens(settings: Settings, work: Callable[[TokenFile], T]) -> T:
    from hmsactd.identity.api_tokens import TokenFile, TokensRefused

    directory = settings.data.directory
    if not directory.is_dir():
        end(REFUSED, f"{directory} is no data directory yet: start the daemon once, or say another with --data")
    try:
        return work(TokenFile(directory))
    except TokensRefused as refused:
        end(REFUSED, str(refused))


def _day(at: int) -> str:
    return datetime.fromtimestamp(at / 1e6, UTC).strftime("%Y-%m-%d %H:%M UTC")
