"""hmsact bulk: one thing done to many operations, and its progress."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from hmsact.commands.invocation import Invocation, global_options
from hmsact.commands.jobs import follow
from hmsact.commands.said import not_empty
from hmsact.commands.wanted import wanted_of, wanted_options
from hmsact.job import Job
from hmsact.requests import Clock

Begin = Callable[..., Job]

DONE = {"pause": "paused", "resume": "resumed", "cancel": "cancelled", "retry": "retried"}


@click.group()
@global_options
def bulk() -> None:
    """Pause, resume, cancel or retry many operations at once.

    Which ones is said as for `hmsact list`, or by their whole ids. It asks first, then shows the progress; what it has
    begun is a job, which goes on without it (see `hmsact jobs`). If no operation matches it says so, begins no job and
    ends with 0.
    """


def _options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.argument("operations", metavar="[ID]...", nargs=-1),
        wanted_options,
        click.option("--everything", is_flag=True, help="Every operation of the namespace."),
        click.option(
            "--reason",
            callback=not_empty,
            metavar="TEXT",
            required=True,
            help="Why; it is recorded with each operation.",
        ),
        click.option("--dry-run", is_flag=True, help="Say how many match, and do nothing."),
        click.option("--yes", is_flag=True, help="Don't ask."),
        click.option("--detach", is_flag=True, help="Print the id of the job, and don't wait for it."),
        global_options,
        click.pass_obj,
    )[::-1]:
        command = option(command)
    return command


@bulk.command()
@click.option("--stop-clock", is_flag=True, help="The operations' own SLAs stop, too.")
@_options
def pause(invocation: Invocation, /, stop_clock: bool, **said: Any) -> int:
    """Freeze operations at their current steps."""
    clock: Clock | None = "stop" if stop_clock else None
    return _bulk(invocation, "pause", lambda act, **asked: act.pause_many(clock=clock, **asked), said)


@bulk.command()
@_options
def resume(invocation: Invocation, /, **said: Any) -> int:
    """Let paused operations go on."""
    return _bulk(invocation, "resume", lambda act, **asked: act.resume_many(**asked), said)


@bulk.command()
@_options
def cancel(invocation: Invocation, /, **said: Any) -> int:
    """End operations: no further work is done."""
    return _bulk(invocation, "cancel", lambda act, **asked: act.cancel_many(**asked), said)


@bulk.command()
@_options
def retry(invocation: Invocation, /, **said: Any) -> int:
    """Give the stalled steps of operations fresh retries."""
    return _bulk(invocation, "retry", lambda act, **asked: act.retry_many(**asked), said)


def _bulk(invocation: Invocation, action: str, begin: Begin, said: dict[str, Any]) -> int:
    dry_run, yes, detach = said.pop("dry_run"), said.pop("yes"), said.pop("detach")
    asked = {name: said.pop(name) for name in ("reason", "everything")}
    operations = said.pop("operations")
    wanted = wanted_of(said)
    if sum((bool(operations), bool(wanted), asked["everything"])) != 1:
        raise click.UsageError("say which operations in one way: by their ids, as for `hmsact list`, or --everything")
    asked |= {"operations": operations or None, **wanted}
    with invocation.orchestrator() as act:
        trial = begin(act, dry_run=True, **asked)
        many = _many(trial)
        if dry_run:
            counted = {"count": trial.expected, "is_exact": trial.is_expected_exact}
            invocation.say(counted, f"{many} would be {DONE[action]}.")
            return 0
        if trial.expected == 0 and trial.is_expected_exact:
            click.echo("No operation matches.", err=True)
            return 0
        if not yes:
            _ask(f"{action.capitalize()} {many}?")
        # Whoever has agreed to so many has not agreed to more.
        count_max = trial.expected if trial.is_expected_exact and not yes else None
        job = begin(act, count_max=count_max, **asked)
        if detach:
            invocation.say(job.as_json(), job.id)
            return 0
        return follow(invocation, job)


def _ask(question: str) -> None:
    """Returns for a yes; ends the command otherwise."""
    code = 1
    try:
        if click.confirm(question, err=True):
            return
    except click.Abort:
        click.echo(err=True)
        code = 130
    click.echo("Nothing was done.", err=True)
    raise click.exceptions.Exit(code)


def _many(trial: Job) -> str:
    least = "" if trial.is_expected_exact else "at least "
    return f"{least}{trial.expected:,} operation{'' if trial.expected == 1 else 's'}"
