"""hmsact jobs, job: what is being done to many operations, how far it has come, and what became of each."""

from __future__ import annotations

import json
from typing import Any

import click

from hmsact.commands.invocation import Invocation, global_options
from hmsact.commands.said import not_empty
from hmsact.commands.show import columns, is_colourful, local, state
from hmsact.job import OUTCOMES, Job, JobResult
from hmsact.render import visible

ENDED_OTHERWISE = 1
"""Exit code for a job that was cancelled or failed, or in which operations were refused."""

SAID_EVERY_SHARE = 0.1
"""Without a terminal a line is printed for each tenth of the work, not for each commit."""


@click.command()
@click.option("--limit", metavar="N", type=click.IntRange(1), default=20, show_default=True, help="At most so many.")
@global_options
@click.pass_obj
def jobs(invocation: Invocation, limit: int) -> None:
    """List jobs over many operations, the newest first."""
    with invocation.orchestrator() as act:
        found = list(act.jobs(limit=limit))
    if invocation.json:
        for each in found:
            click.echo(json.dumps(each.as_json(), ensure_ascii=False))
    elif found:
        header = ("ID", "ACTION", "STATE", "STARTED", "BY", "OPERATIONS", "REASON")
        click.echo(columns([header, *map(_row, found)]))
    else:
        click.echo("No jobs.", err=True)


def _row(job: Job) -> tuple[str, ...]:
    return job.id, job.action, job.state, local(job.start_time), str(job.started_by), counts(job), job.reason


@click.command()
@click.argument("job_id", metavar="ID")
@click.option("--results", is_flag=True, help="What became of each operation.")
@click.option(
    "--outcome", type=click.Choice([*OUTCOMES]), metavar="O", help=f"With --results: only {', '.join(OUTCOMES)}."
)
@click.option("--watch", is_flag=True, help="Show its progress until it has ended.")
@click.option("--cancel", is_flag=True, help="End it; what it has done stays done.")
@click.option("--reason", callback=not_empty, metavar="TEXT", help="With --cancel: why.")
@global_options
@click.pass_obj
def job(
    invocation: Invocation,
    job_id: str,
    results: bool,
    outcome: Any,
    watch: bool,
    cancel: bool,
    reason: str | None,
) -> int:
    """Show how a job stands; follow it, end it, or list its results. ID is the whole id."""
    if sum((results, watch, cancel)) > 1:
        raise click.UsageError("one at a time: --results, --watch or --cancel")
    if outcome and not results:
        raise click.UsageError("--outcome goes with --results")
    if reason and not cancel:
        raise click.UsageError("--reason goes with --cancel")
    with invocation.orchestrator() as act:
        if cancel:
            ended = act.cancel_job(job_id, reason)
            invocation.say(ended.as_json(), f"{ended.id} {state(ended.state)}: {counts(ended)}")
        elif results:
            for result in act.job_results(job_id, outcome):
                invocation.say(result.as_json(), _result(result))
        elif watch:
            return follow(invocation, act.job(job_id))
        else:
            found = act.job(job_id)
            invocation.say(found.as_json(), _details(found))
    return 0


def follow(invocation: Invocation, job: Job) -> int:
    """Shows the progress of a job until it has ended; Ctrl-C leaves it running. Returns the exit code."""
    try:
        if invocation.json:
            for now in job.progress():
                click.echo(json.dumps(now.as_json(), ensure_ascii=False))
        elif is_colourful():
            _bar(job)
        else:
            _lines(job)
    except KeyboardInterrupt:
        click.echo(f"\n{job.id} goes on: hmsact job {job.id} --watch, or --cancel to end it", err=True)
        raise
    if not invocation.json:
        click.echo(f"{job.id} {state(job.state)}: {counts(job)}")
        if job.skipped or job.refused:
            which = "refused" if job.refused else "skipped"
            click.echo(f"why: hmsact job {job.id} --results --outcome {which}", err=True)
    return 0 if job.state == "completed" and not job.refused else ENDED_OTHERWISE


def _bar(job: Job) -> None:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    shown = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeRemainingColumn(),
    )
    with Progress(*shown, transient=True) as progress:
        task = progress.add_task(job.action, total=job.total, note="")
        for now in job.progress():
            progress.update(task, completed=now.taken, total=max(now.total, now.taken), note=_note(now))


def _lines(job: Job) -> None:
    said = -1.0
    for now in job.progress():
        share = now.taken / now.total if now.total else 0.0
        if share - said >= SAID_EVERY_SHARE or now.held_up_by:
            said = share
            click.echo(f"{now.taken:,} of {now.total:,} {_note(now)}".rstrip(), err=True)


def _note(job: Job) -> str:
    if job.held_up_by:
        return f"waits: {job.held_up_by}"
    return f"{job.per_second:,.0f}/s" if job.per_second else ""


def counts(job: Job) -> str:
    """How many were done, and how many were not."""
    parts = [f"{job.done:,} done"]
    parts += [f"{job.skipped:,} skipped"] if job.skipped else []
    parts += [f"{job.refused:,} refused"] if job.refused else []
    if job.taken < job.total:
        parts.append(f"{job.total - job.taken:,} {'not reached' if job.is_final else 'ahead'}")
    return ", ".join(parts)


def _details(job: Job) -> str:
    facts = [("operations", counts(job)), ("started", f"{local(job.start_time)} by {job.started_by}")]
    if job.end_time:
        facts.append(("ended", local(job.end_time) + (f" by {job.ended_by}" if job.ended_by else "")))
    facts += [
        (name, said)
        for name, said in (
            ("filter", job.filter),
            ("reason", job.reason),
            ("waits for", job.held_up_by),
            ("failed", job.fault),
        )
        if said
    ]
    return f"{job.id}  {job.action}  {state(job.state)}\n{columns(facts, indent='  ')}"


def _result(result: JobResult) -> str:
    recorded = result.recorded
    what = f"{recorded.state} (event {recorded.sequence})" if recorded else f"{result.reason}: {result.message}"
    return visible(
        f"{result.operation_id}  {result.outcome.ljust(7)}  {what if result.outcome != 'ahead' else ''}"
    ).rstrip()
