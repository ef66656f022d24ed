"""hmsact list, get."""

from __future__ import annotations

import json

import click

from hmsact.commands.invocation import Invocation, global_options
from hmsact.commands.show import ago, columns, heading, json_block, local, state
from hmsact.commands.start import label
from hmsact.item import ItemStatus
from hmsact.operation import Operation
from hmsact.principal import subject_of
from hmsact.recorded import STATES
from hmsact.render import visible


@click.command("list")
@click.option("--state", type=click.Choice(STATES), help="Only those in this state.")
@click.option("--name", metavar="N", help="Only those of this definition.")
@click.option("--key", metavar="K", help="Only those with this business key.")
@click.option("--label", "labels", metavar="K=V", multiple=True, help="Only those with this label. May be repeated.")
@click.option("--limit", metavar="N", type=click.IntRange(1), default=50, show_default=True, help="At most so many.")
@global_options
@click.pass_obj
def list_operations(
    invocation: Invocation, state: str | None, name: str | None, key: str | None, labels: tuple[str, ...], limit: int
) -> None:
    """List operations, the newest first."""
    wanted = {"state": state, "name": name, "key": key}
    with invocation.orchestrator() as act:
        found = list(act.operations(**wanted, labels=dict(map(label, labels)), limit=limit))
        if invocation.json:
            for operation in found:
                click.echo(json.dumps(operation.as_json(), ensure_ascii=False))
            return
        if found:
            header = ("ID", "NAME", "STATE", "STARTED", "KEY", "WAITS FOR")
            click.echo(columns([header, *map(_summary, found)]))
        left_out = act.count(**wanted, labels=dict(map(label, labels))) - len(found)
    if not found:
        click.echo("No operations.", err=True)
    elif left_out > 0:
        click.echo(f"… and {left_out:,} more (--limit)", err=True)


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
    by = f"{operation.started_by}" + (f" for {operation.requested_by}" if operation.requested_by else "")
    facts = [("started", f"{local(operation.start_time)} by {by}")]
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


def _item(item: ItemStatus) -> tuple[str, str, str, str]:
    return item.name, item.role or item.svc, item.state, visible(", ".join(_notes(item)))


def _notes(item: ItemStatus) -> list[str]:
    notes = []
    if item.attempt > 1:
        notes.append(f"attempt {item.attempt}")
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
