"""hmsact inbox, claim, assign, release, approve, reject."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from itertools import takewhile
from typing import Any

import click

from hmsact.client import Orchestrator
from hmsact.commands.invocation import Invocation, global_options
from hmsact.commands.recorded import say_recorded
from hmsact.commands.said import not_empty
from hmsact.commands.show import ago, columns, heading, json_block, local
from hmsact.inbox import Pending, Shown
from hmsact.plain import time_text
from hmsact.principal import subject_of
from hmsact.recorded import Recorded

_comment = click.option("--comment", callback=not_empty, metavar="TEXT", help="What you say to it; it is recorded.")


@click.command()
@click.option("--role", metavar="ROLE", help="Of this role; otherwise of every role that you have.")
@global_options
@click.pass_obj
def inbox(invocation: Invocation, role: str | None) -> None:
    """List the decisions that wait for somebody."""
    with invocation.orchestrator() as act:
        pending = act.inbox(role)
    if invocation.json:
        for decision in pending:
            click.echo(json.dumps(_plain(decision), ensure_ascii=False))
    elif pending:
        header = ("OPERATION", "NAME", "CHECKPOINT", "ROLE", "WAITING", "CLAIMED / ASSIGNED", "YOU MAY DECIDE")
        click.echo(columns([header, *map(_row, pending)]))
    else:
        click.echo("Nothing waits for a decision.", err=True)


def _row(pending: Pending) -> tuple[str, ...]:
    holder = f"{subject_of(pending.claimed_by)} (claimed)" if pending.claimed_by else subject_of(pending.assigned_to)
    return (
        pending.operation_id,
        pending.definition,
        pending.checkpoint,
        pending.role,
        ago(pending.since_time),
        holder,
        "yes" if pending.may_decide else "no",
    )


def _plain(pending: Pending) -> dict[str, Any]:
    times = {"since_time": time_text(pending.since_time)}
    if pending.due_time:
        times["due_time"] = time_text(pending.due_time)
    return {name: value for name, value in asdict(pending).items() if not name.endswith("_time")} | times


@click.command()
@click.argument("operation", metavar="OP")
@click.argument("checkpoint", metavar="CHECKPOINT")
@_comment
@global_options
@click.pass_obj
def claim(invocation: Invocation, operation: str, checkpoint: str, comment: str | None) -> None:
    """Take a decision on, so that others see that you are at it."""
    with invocation.orchestrator() as act:
        found = act.get(operation).id
        say_recorded(invocation, found, f"{checkpoint} claimed", act.claim(found, checkpoint, comment))


@click.command()
@click.argument("operation", metavar="OP")
@click.argument("checkpoint", metavar="CHECKPOINT")
@_comment
@global_options
@click.pass_obj
def release(invocation: Invocation, operation: str, checkpoint: str, comment: str | None) -> None:
    """Give a decision that you have claimed back."""
    with invocation.orchestrator() as act:
        found = act.get(operation).id
        say_recorded(invocation, found, f"{checkpoint} released", act.release(found, checkpoint, comment))


@click.command()
@click.argument("operation", metavar="OP")
@click.argument("checkpoint", metavar="CHECKPOINT")
@click.option(
    "--to",
    "person",
    metavar="PERSON",
    required=True,
    help='To whom: "issuer:subject", or a subject of your own issuer.',
)
@_comment
@global_options
@click.pass_obj
def assign(invocation: Invocation, operation: str, checkpoint: str, person: str, comment: str | None) -> None:
    """Assign a decision to a person who holds the role. Others who hold it may decide all the same."""
    with invocation.orchestrator() as act:
        if ":" not in person:
            person = f"{act.whoami().principal.issuer}:{person}"
        found = act.get(operation).id
        recorded = act.assign(found, checkpoint, person, comment)
        say_recorded(invocation, found, f"{checkpoint} assigned to {person}", recorded)


@click.command()
@click.argument("operation", metavar="OP")
@click.argument("checkpoint", metavar="CHECKPOINT")
@_comment
@click.option("--yes", is_flag=True, help="Don't ask.")
@global_options
@click.pass_obj
def approve(invocation: Invocation, operation: str, checkpoint: str, comment: str | None, yes: bool) -> None:
    """Show what is to be decided, ask, and approve it."""
    _decide(invocation, operation, checkpoint, comment, is_asked=not yes, is_approval=True)


@click.command()
@click.argument("operation", metavar="OP")
@click.argument("checkpoint", metavar="CHECKPOINT")
@_comment
@click.option("--yes", is_flag=True, help="Don't ask.")
@global_options
@click.pass_obj
def reject(invocation: Invocation, operation: str, checkpoint: str, comment: str | None, yes: bool) -> None:
    """Show what is to be decided, ask, and reject it."""
    _decide(invocation, operation, checkpoint, comment, is_asked=not yes, is_approval=False)


def _decide(
    invocation: Invocation, part_of_id: str, checkpoint: str, comment: str | None, *, is_asked: bool, is_approval: bool
) -> None:
    if is_asked and not sys.stdin.isatty():
        raise click.UsageError("no terminal to ask at: --yes decides without asking")
    with invocation.orchestrator() as act:
        shown = act.shown(part_of_id, checkpoint)
        # In JSON the answer is for a program; what a person should see goes beside it.
        click.echo(_paper(shown), err=invocation.json)
        if is_asked:
            _ask(shown, "Approve?" if is_approval else "Reject?", err=invocation.json)
        # Whoever may not decide and says --yes is refused by the daemon, on the record.
        recorded = _say_so(act, shown, comment, is_approval)
        done = f"{checkpoint} {'approved' if is_approval else 'rejected'}"
        say_recorded(invocation, shown.operation.id, done, recorded)


def _ask(shown: Shown, question: str, *, err: bool) -> None:
    """Returns if whoever sits there may decide and says yes; ends the command otherwise."""
    if shown.refusal:
        raise click.ClickException(f"you may not decide this: {shown.refusal}")
    code = 1
    try:
        if click.confirm(question, err=err):
            return
    except click.Abort:
        click.echo(err=True)
        code = 130
    click.echo("Nothing was decided.", err=True)
    raise click.exceptions.Exit(code)


def _say_so(act: Orchestrator, shown: Shown, comment: str | None, is_approval: bool) -> Recorded:
    decide = act.approve if is_approval else act.reject
    return decide(shown.operation, shown.checkpoint.name, comment, shown)


def _paper(shown: Shown) -> str:
    """Everything that whoever decides should see, and the digest by which the decision names it."""
    operation, checkpoint = shown.operation, shown.checkpoint
    holder = checkpoint.claimed_by or checkpoint.assigned_to
    verb = "claimed by" if checkpoint.claimed_by else "assigned to"
    is_decided = checkpoint.decided_by is not None
    at = local(shown.since_time)
    facts = [
        ("operation", f"{operation.id} ({operation.name}), started by {operation.started_by}"),
        ("decided by", checkpoint.role + (f", {verb} {subject_of(holder)}" if holder else "")),
    ]
    if is_decided:
        facts.append((checkpoint.state, f"by {checkpoint.decided_by}" + (f" at {at}" if at else "")))
    else:
        facts.append(("pending", f"since {at}" if at else checkpoint.state))
    parts = [heading(checkpoint.name), columns(facts, indent="  ")]
    parts += ["", "  input", json_block(operation.input, "    ")]
    # What came after a decision was not there to be seen by whoever made it.
    for item in takewhile(lambda item: item.instance != checkpoint.instance, operation.items):
        if item.state in ("done", "skipped"):
            parts += ["", f"  {item.name} ({item.state} by {item.svc})" if item.state == "done" else f"  {item.name}"]
            parts += [json_block(item.output, "    ") if item.state == "done" else "    skipped"]
    if not is_decided:
        consequence = "releases " + ", ".join(shown.releases) if shown.releases else "completes the operation"
        parts += ["", f"  An approval {consequence}; a rejection ends the operation."]
        parts += [f"  Digest of all this: {shown.digest}"]
    return "\n".join([*parts, ""])
