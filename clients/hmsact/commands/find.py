"""hmsact list, get."""

from __future__ import annotations

import json
from typing import Any, cast

import click

from hmsact.commands.invocation import Invocation, global_options
from hmsact.commands.show import ago, columns, heading, json_block, local, state
from hmsact.commands.wanted import wanted_of, wanted_options
from hmsact.counted import Counted
from hmsact.item import ItemStatus
from hmsact.operation import Operation
from hmsact.principal import subject_of
from hmsact.render import visible
from hmsact.wanted import GroupBy, OrderBy


@click.command("list")
@wanted_options
@click.option(
    "--order-by", metavar="TIME", help='start_time, update_time, end_time or awaited.due_time, maybe " desc".'
)
@click.option("--limit", metavar="N", type=click.IntRange(1), default=50, show_default=True, help="At most so many.")
@click.option("--count", "is_count", is_flag=True, help="Say only how many there are.")
@click.option("--by", "group_by", metavar="WHAT", help="With --count: of each state, name, awaited.role, …service.")
@global_options
@click.pass_obj
def list_operations(
    invocation: Invocation, /, limit: int, order_by: str | None, is_count: bool, group_by: str | None, **said: Any
) -> None:
    """List operations, the newest first. All that is said must hold; of an option given twice, either."""
    wanted = wanted_of(said)
    if group_by and not is_count:
        raise click.UsageError("--by goes with --count")
    with invocation.orchestrator() as act:
        if is_count:
            _say_count(invocation, act.counted(cast("GroupBy | None", group_by), **wanted))
            return
        found = list(act.operations(**wanted, order_by=cast("OrderBy | None", order_by), limit=limit))
        if invocation.json:
            for operation in found:
                click.echo(json.dumps(operation.as_json(), ensure_ascii=False))
            return
        if found:
            header = ("ID", "NAME", "STATE", "STARTED", "KEY", "WAITS FOR")
            click.echo(columns([header, *map(_summary, found)]))
        counted = act.counted(**wanted)
    if not found:
        click.echo("No operations.", err=True)
    elif counted.count > len(found):
        more = counted.count - len(found)
        click.echo(f"… and {more:,} {'more' if counted.is_exact else 'more at least'} (--limit)", err=True)


def _say_count(invocation: Invocation, counted: Counted) -> None:
    value = {"count": counted.count, "is_exact": counted.is_exact, "groups": dict(counted.groups)}
    rows = [(name, f"{count:,}") for name, count in counted.groups.items()]
    invocation.say(value, "\n".join(filter(None, [columns(rows) if rows else "", str(counted)])))


def _summary(operation: Operation) -> tuple[str, ...]:
    started = local(operation.start_time)
    return operation.id, operation.name, operation.state, started, operation.key, _awaited(operation)


def _awaited(operation: Operation) -> str:
    awaited = operation.awaited
    since = f" for {ago(awaited.since_time)}" if awaited.since_time else ""
    match awaited.kind:
        case "worker":
            return f"{awaited.name}: a worker of {awaited.who}{since}"
        case "report":
            return f"{awaited.name}: {awaited.who} at work{since}"
        case "completion":
            return f"{awaited.name}: {awaited.who} to complete it{since}"
        case "decision":
            return f"{awaited.name}: a decision of {awaited.who}{since}"
        case "operator":
            return f"{awaited.name}: an operator{since}"
        case "clock":
            return f"{awaited.name}: its next attempt"
        case _:
            return ""


@click.command()
@click.argument("operation", metavar="OP")
@global_options
@click.pass_obj
def get(invocation: Invocation, operation: str) -> None:
    """Show how an operation stands."""
    with invocation.orchestrator() as act:
        found = act.get(operation)
        invocation.say(found.as_json(), _details(found))


def _details(operation: Operation) -> str:
    facts = [("started", f"{local(operation.start_time)} by {_starter(operation)}")]
    if operation.end_time:
        facts.append(("ended", local(operation.end_time)))
    if awaited := _awaited(operation):
        facts.append(("waits for", awaited))
    if operation.key:
        facts.append(("key", operation.key))
    facts += [("label", f"{name}={value}") for name, value in sorted(operation.labels.items())]
    parts = [
        f"{heading(operation.id)}  {operation.name}  {state(operation.state)}",
        columns(facts, indent="  "),
        "",
        columns(map(_item, operation.items), indent="  "),
    ]
    for title, value in (("input", operation.input), ("output", operation.output)):
        if value is not None:
            parts += ["", f"  {title}", json_block(value, "    ")]
    return "\n".join(parts)


def _starter(operation: Operation) -> str:
    """Who started it, and for whom: who had signed in, and who was only named."""
    by = operation.started_by
    person = f" for {subject_of(by.on_behalf_of)}, who had signed in" if by.on_behalf_of else ""
    is_named = operation.requested_by and not operation.is_requested_by_verified
    return f"{by}{person}" + (f", as they said for {operation.requested_by}" if is_named else "")


def _item(item: ItemStatus) -> tuple[str, str, str, str]:
    return item.name, item.role or item.svc, item.state, visible(", ".join(_notes(item)))


def _notes(item: ItemStatus) -> list[str]:
    notes = []
    if item.attempt > 1:
        notes.append(f"attempt {item.attempt}")
    if item.deferred_time:
        notes.append(f"deferred since {local(item.deferred_time)}")
    if item.completion_due_time:
        notes.append(f"to be completed by {local(item.completion_due_time)}")
    if item.retry_time:
        notes.append(f"next at {local(item.retry_time)}")
    if item.code and item.state not in ("done", "skipped"):
        notes.append(item.code)
    if item.decided_by:
        notes.append(f"by {item.decided_by}")
    elif item.claimed_by:
        notes.append(f"claimed by {subject_of(item.claimed_by)}")
    elif item.assigned_to:
        notes.append(f"assigned to {subject_of(item.assigned_to)}")
    if item.due_time:
        notes.append(f"due {local(item.due_time)}")
    if item.clock and item.clock.remaining_ms < 0:
        notes.append("SLA breached")
    return notes
