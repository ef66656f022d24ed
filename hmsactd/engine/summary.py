"""The row by which a sleeping operation is found: what it waits for, since when, until when. Derived from its state."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache

from hmsactd.core.due import next_due
from hmsactd.core.operation import CheckpointItem, Operation, StepItem
from hmsactd.core.transitions import CheckpointState, StepState
from hmsactd.store.store import Summary


@dataclass(frozen=True, slots=True)
class Given:
    """What a caller gave an operation to be found by."""

    key: str | None = None
    labels: tuple[tuple[str, str], ...] = ()
    requested_by: str | None = None


NOTHING_GIVEN = Given()


def given_in(summary: Summary) -> Given:
    """What was given to an operation, from its row."""
    return Given(summary.key, summary.labels, summary.requested_by)


AWAITS = {
    StepState.QUEUED: "worker",
    StepState.RUNNING: "report",
    StepState.RETRYING: "clock",
    StepState.STALLED: "operator",
    CheckpointState.PENDING: "decision",
}


def summarise(namespace: str, operation_id: str, operation: Operation, given: Given = NOTHING_GIVEN) -> Summary:
    """The row for an operation as it is now."""
    item = None if operation.is_final else operation.current
    due = next_due(operation)
    awaits = AWAITS.get(item.state, "") if item is not None else ""
    since = item.since if item is not None else None
    if isinstance(item, StepItem) and item.deferred_at is not None:
        awaits, since = "completion", item.deferred_at
    if awaits == "worker" and operation.pause is not None:
        # A paused step is offered to nobody; resuming queues it again.
        awaits = ""
    step = item if isinstance(item, StepItem) else None
    checkpoint = item if isinstance(item, CheckpointItem) else None
    return Summary(
        namespace=namespace,
        operation=operation_id,
        definition=operation.flow.name,
        digest=operation.flow.digest,
        state=operation.state.value,
        revision=operation.revision,
        sequence=operation.sequence,
        started_at=operation.started_at,
        updated_at=operation.updated_at,
        ended_at=operation.ended_at,
        due_at=due.at if due is not None else None,
        awaits=awaits,
        awaits_who=step.definition.svc if step is not None else checkpoint.definition.role if checkpoint else "",
        awaits_name=item.definition.name if item is not None else "",
        awaits_instance=item.instance if item is not None else 0,
        awaits_since=since,
        session=step.session if step is not None else None,
        claimed_by=checkpoint.claimed_by if checkpoint is not None else None,
        assigned_to=checkpoint.assigned_to if checkpoint is not None else None,
        alarms=_alarms(operation),
        started_by=operation.started_by.id,
        key=given.key,
        labels=given.labels,
        # Found by the person it is for, whether they have signed in or are named by whoever started it.
        requested_by=given.requested_by or operation.started_by.on_behalf_of,
        person=operation.started_by.person,
        on_behalf_of=operation.started_by.on_behalf_of,
    )


def _alarms(operation: Operation) -> str | None:
    """What is wrong with an open operation now, by name of the item ("" for the operation), so that gauges survive."""
    if operation.is_final:
        return None
    item = operation.current
    alarms: list[tuple[str, str]] = []
    for name, clock in (("", operation.clock), (item.definition.name, item.clock) if item else ("", None)):
        if clock is not None and clock.is_breached:
            alarms.append(("breached", name))
        elif clock is not None and clock.is_at_risk:
            alarms.append(("at_risk", name))
    if item is not None and item.state is StepState.STALLED:
        alarms.append(("stalled", item.definition.name))
    if item is not None and item.is_unattended:
        alarms.append(("unattended", item.definition.name))
    return _alarms_text(tuple(alarms)) if alarms else None


# A thousand operations of one flow may be late at once.
@lru_cache(1024)
def _alarms_text(alarms: tuple[tuple[str, str], ...]) -> str:
    names: dict[str, list[str]] = {}
    for alarm, name in alarms:
        names.setdefault(alarm, []).append(name)
    return json.dumps(names, sort_keys=True)
