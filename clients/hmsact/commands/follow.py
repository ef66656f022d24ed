"""hmsact events, timeline."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

from hmsact.commands.invocation import Invocation, global_options
from hmsact.commands.show import is_colourful
from hmsact.event import Event
from hmsact.recorded import FINAL_STATES
from hmsact.render import role_noun

if TYPE_CHECKING:
    from rich.text import Text

_STYLES = {
    "step_done": "green",
    "step_failed": "red",
    "step_stalled": "bold red",
    "step_skipped": "magenta",
    "checkpoint_pending": "cyan",
    "checkpoint_approved": "green",
    "checkpoint_rejected": "red",
    "sla_at_risk": "yellow",
    "sla_breach": "bold red",
    "unattended": "bold red",
    "operation_completed": "bold green",
    "operation_rejected": "bold red",
    "operation_failed": "bold red",
    "operation_cancelled": "bold magenta",
    "operation_paused": "yellow",
}


@click.command()
@click.argument("operation", metavar="OP")
@click.option("--after", metavar="CURSOR", help="Only what follows this cursor (from --json).")
@click.option("--no-follow", is_flag=True, help="End after what is recorded now.")
@click.option("--all", "everything", is_flag=True, help="Every kind of event, not only those that tell the story.")
@global_options
@click.pass_obj
def events(invocation: Invocation, operation: str, after: str | None, no_follow: bool, everything: bool) -> None:
    """Show what happens to an operation: history, then live."""
    with invocation.orchestrator() as act:
        told = act.events(operation, after, everything, follow=not no_follow)
        if invocation.json:
            for event in told:
                click.echo(json.dumps(event.as_json(), ensure_ascii=False))
        elif is_colourful():
            _show_live(told, is_followed=not no_follow)
        else:
            for event in told:
                click.echo(str(event))


def styled(line: str, kind: str) -> Text:
    """A line in the colour of its kind."""
    from rich.text import Text

    return Text(line, _STYLES.get(kind, ""))


def _show_live(told: Iterable[Event], *, is_followed: bool) -> None:
    """Coloured lines, and below them a spinner that says what is being waited for."""
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False, soft_wrap=True)
    if not is_followed:
        for event in told:
            console.print(styled(str(event), event.kind))
        return
    with console.status("connecting") as status:
        for event in told:
            console.print(styled(str(event), event.kind))
            status.update(Text(_standing(event), "bright_black"))


def _standing(event: Event) -> str:
    """What is being waited for after an event."""
    match event.state:
        case "waiting" if event.kind.startswith("checkpoint_"):
            return f"waiting for {role_noun(event.role)}: hmsact approve {event.operation_id} {event.name}"
        case "stalled":
            return f"stalled: hmsact retry {event.operation_id} {event.name}"
        case "" | "running":
            return "running"
        case state:
            return "" if state in FINAL_STATES else state


@click.command()
@click.argument("operation", metavar="OP")
@click.option("--all", "everything", is_flag=True, help="Every kind of event, not only those that tell the story.")
@click.option("--utc", is_flag=True, help="Times in UTC instead of local time.")
@global_options
@click.pass_obj
def timeline(invocation: Invocation, operation: str, everything: bool, utc: bool) -> None:
    """Replay what has happened to an operation so far."""
    with invocation.orchestrator() as act:
        lines = act.timeline(operation, everything)
    for line in lines:
        click.echo(json.dumps(line.event.as_json(), ensure_ascii=False) if invocation.json else line.pretty(utc))
