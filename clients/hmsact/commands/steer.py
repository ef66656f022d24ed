"""hmsact pause, resume, cancel, retry, skip."""

from __future__ import annotations

from collections.abc import Callable

import click

from hmsact.client import Orchestrator
from hmsact.commands.invocation import Invocation, global_options
from hmsact.commands.recorded import say_recorded
from hmsact.commands.said import not_empty
from hmsact.recorded import Recorded
from hmsact.requests import Clock

_reason = click.option("--reason", callback=not_empty, metavar="TEXT", help="Why; it is recorded.")
_demanded_reason = click.option(
    "--reason", callback=not_empty, metavar="TEXT", required=True, help="Why; it is recorded."
)


@click.command()
@click.argument("operation", metavar="OP")
@_reason
@click.option("--stop-clock", is_flag=True, help="The operation's own SLA stops, too. Needs a reason.")
@global_options
@click.pass_obj
def pause(invocation: Invocation, operation: str, reason: str | None, stop_clock: bool) -> None:
    """Freeze an operation at its current step."""
    clock: Clock | None = "stop" if stop_clock else None
    _steer(invocation, operation, "paused", lambda act, found: act.pause(found, reason, clock=clock))


@click.command()
@click.argument("operation", metavar="OP")
@_reason
@global_options
@click.pass_obj
def resume(invocation: Invocation, operation: str, reason: str | None) -> None:
    """Let a paused operation go on."""
    _steer(invocation, operation, "resumed", lambda act, found: act.resume(found, reason))


@click.command()
@click.argument("operation", metavar="OP")
@_reason
@global_options
@click.pass_obj
def cancel(invocation: Invocation, operation: str, reason: str | None) -> None:
    """End an operation: no further work is done."""
    _steer(invocation, operation, "cancelled", lambda act, found: act.cancel(found, reason))


@click.command()
@click.argument("operation", metavar="OP")
@click.argument("step", metavar="STEP")
@_demanded_reason
@global_options
@click.pass_obj
def retry(invocation: Invocation, operation: str, step: str, reason: str) -> None:
    """Give a stalled step fresh retries."""
    _steer(invocation, operation, f"{step} retried", lambda act, found: act.retry(found, step, reason))


@click.command()
@click.argument("operation", metavar="OP")
@click.argument("step", metavar="STEP")
@_demanded_reason
@global_options
@click.pass_obj
def skip(invocation: Invocation, operation: str, step: str, reason: str) -> None:
    """Leave a stalled step out."""
    _steer(invocation, operation, f"{step} skipped", lambda act, found: act.skip(found, step, reason))


def _steer(invocation: Invocation, part_of_id: str, done: str, change: Callable[[Orchestrator, str], Recorded]) -> None:
    with invocation.orchestrator() as act:
        found = act.get(part_of_id).id
        say_recorded(invocation, found, done, change(act, found))
