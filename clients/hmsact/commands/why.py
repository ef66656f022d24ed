"""hmsact why."""

from __future__ import annotations

import shutil
import sys
import textwrap

import click

from hmsact.account import Account
from hmsact.commands.invocation import Invocation, global_options
from hmsact.commands.show import heading
from hmsact.render import visible
from hmsact.zone import UTC, local_zone

_WIDTH_MAX = 100


@click.command()
@click.argument("operation", metavar="OP")
@click.option("--utc", is_flag=True, help="Times in UTC instead of local time.")
@global_options
@click.pass_obj
def why(invocation: Invocation, operation: str, utc: bool) -> None:
    """Tell what has happened to an operation, who decided, and what is awaited."""
    with invocation.orchestrator() as act:
        account = act.why(operation, time_zone=UTC if utc else local_zone())
    invocation.say(account.as_json(), _told(account))


def _told(account: Account) -> str:
    """The account, wrapped at a terminal; in a pipe, a sentence or a few to a line."""
    entries = [_wrapped(entry.sentence, "  ") for entry in account.entries]
    return "\n".join([heading(_wrapped(account.headline)), "", *entries])


def _wrapped(text: str, indent: str = "") -> str:
    said = visible(text)
    if not sys.stdout.isatty():
        return indent + said
    width = min(shutil.get_terminal_size().columns, _WIDTH_MAX)
    return textwrap.fill(said, width, initial_indent=indent, subsequent_indent=indent * 2, break_on_hyphens=False)
