"""From the daemon's own types to the messages of the API. Nothing is read and nothing decided here."""

from __future__ import annotations

import json
from collections.abc import Collection, Container, Mapping
from typing import Any

from hmsact.v1 import event_pb2, operation_pb2, principal_pb2

from hmsactd.core.clock import SlaClock
from hmsactd.core.operation import CheckpointItem, Item, Operation, StepItem
from hmsactd.core.principal import Principal, subject_of
from hmsactd.core.transitions import OperationState, StepState
from hmsactd.definition.flow import ItemDefinition, StepDefinition
from hmsactd.engine.requests import Done
from hmsactd.engine.summary import summarise
from hmsactd.rpc.times import timestamp
from hmsactd.store.store import Summary
from hmsactd.timeline import moment
from hmsactd.timeline.timeline import Receipt, Recorded

Payloads = Mapping[tuple[int, str], bytes]
"""What was said in an operation, by sequence and name."""

Cast = Mapping[int, ItemDefinition]
"""Who takes part in an operation: its items by instance."""

OPERATION_STATES = {
    state.value: operation_pb2.OperationState.Value(f"OPERATION_STATE_{state.name}") for state in OperationState
}


def principal(who: Principal) -> principal_pb2.Principal:
    """A principal."""
    return principal_pb2.Principal(
        kind=principal_pb2.PrincipalKind.Value(f"PRINCIPAL_KIND_{who.kind.name}"),
        issuer=who.issuer,
        subject=who.subject,
        roles=who.roles,
        method=who.method,
        responsible=who.responsible or "",
        on_behalf_of=who.on_behalf_of or "",
    )


def operation_state(state: str) -> operation_pb2.OperationState.ValueType:
    """The state of an operation by its word."""
    return OPERATION_STATES[state]


def receipt(evidence: Receipt) -> operation_pb2.Receipt:
    """Evidence for the caller to keep."""
    return operation_pb2.Receipt(log=evidence.log, index=evidence.index, leaf=evidence.leaf, seal=evidence.seal)


def recorded(done: Done) -> operation_pb2.Recorded:
    """What a request has led to."""
    return operation_pb2.Recorded(
        state=operation_state(done.state),
        revision=done.revision,
        sequence=done.receipt.sequence,
        receipt=receipt(done.receipt),
        repeated_request=done.is_repeated,
    )


def started(done: Done) -> operation_pb2.StartOperationResponse:
    """The operation that a start has led to."""
    return operation_pb2.StartOperationResponse(operation_id=done.operation_id, recorded=recorded(done))


# -- operations --------------------------------------------------------------------------------------------------------


def summary(row: Summary, with_words: bool) -> operation_pb2.Operation:
    """An operation as lists show it. Its key, its labels and for whom it was asked are words of its caller."""
    subject = subject_of(row.started_by)
    return operation_pb2.Operation(
        namespace=row.namespace,
        id=row.operation,
        name=row.definition,
        state=operation_state(row.state),
        revision=row.revision,
        sequence=row.sequence,
        key=(row.key or "") if with_words else "",
        labels=dict(row.labels) if with_words else {},
        start_time=timestamp(row.started_at),
        update_time=timestamp(row.updated_at),
        end_time=timestamp(row.ended_at),
        started_by=principal_pb2.Principal(
            issuer=row.started_by.removesuffix(f":{subject}"), subject=subject, on_behalf_of=row.on_behalf_of or ""
        ),
        # Who had signed in is no word of its caller's: the principal says it, too.
        requested_by=(row.requested_by or "") if with_words or row.is_requester_verified else "",
        is_requested_by_verified=row.is_requester_verified,
        awaited=_awaited(row),
        definition_digest=row.digest,
    )


def operation(
    row: Summary, state: Operation, said: Payloads, left_out: Container[int], now: int, with_words: bool
) -> operation_pb2.Operation:
    """An operation with its flow, input and output. `row` brings what the state does not know: key and labels.

    `left_out` are the events whose outputs there was no room for.
    """
    # The row was read beside the state, maybe an event earlier or later: what both know is taken from the state.
    message = summary(row, with_words)
    fresh = summarise(row.namespace, row.operation, state)
    message.state = operation_state(state.state.value)
    message.revision = state.revision
    message.sequence = state.sequence
    message.update_time.CopyFrom(_present(state.updated_at))
    if state.ended_at is not None:
        message.end_time.CopyFrom(_present(state.ended_at))
    message.started_by.CopyFrom(principal(state.started_by))
    message.awaited.CopyFrom(_awaited(fresh))
    message.items.extend(_item(item, said, left_out, now) for item in state.items)
    message.input = said.get((1, "input"), b"")
    message.output = _output(state, said)
    if state.clock is not None:
        message.clock.CopyFrom(_clock("operation", state.clock, now))
    return message


def output_sequences(state: Operation, steps: Collection[str]) -> list[int]:
    """The events that hold the outputs of these steps (of every step if there are none), the latest first."""
    return [
        item.output_sequence
        for item in reversed(state.items)
        if isinstance(item, StepItem) and item.output_sequence and (not steps or item.definition.name in steps)
    ]


def _present(at_us: int) -> Any:
    return timestamp(at_us)


def _output(state: Operation, said: Payloads) -> bytes:
    """The output of the operation: that of the last step that was done."""
    for item in reversed(state.items):
        if isinstance(item, StepItem) and item.state is StepState.DONE:
            return said.get((item.output_sequence, "output"), b"")
    return b""


def _awaited(row: Summary) -> operation_pb2.Awaited:
    if not row.awaits:
        return operation_pb2.Awaited(due_time=timestamp(row.due_at))
    return operation_pb2.Awaited(
        kind=row.awaits,
        who=row.awaits_who,
        name=row.awaits_name,
        since_time=timestamp(row.awaits_since),
        due_time=timestamp(row.due_at),
    )


def _item(item: Item, said: Payloads, left_out: Container[int], now: int) -> operation_pb2.FlowItem:
    name = item.definition.name
    message = operation_pb2.FlowItem(name=name, instance=item.instance)
    if isinstance(item, StepItem):
        message.step.CopyFrom(
            operation_pb2.StepStatus(
                state=operation_pb2.StepState.Value(f"STEP_STATE_{item.state.name}"),
                svc=item.definition.svc,
                attempt=item.attempt,
                retries_used=item.failures,
                retries=item.definition.retries,
                retry_time=timestamp(item.retry_at),
                code=item.code or "",
                output=said.get((item.output_sequence, "output"), b""),
                is_output_left_out=item.output_sequence in left_out,
                deferred_time=timestamp(item.deferred_at),
                completion_due_time=timestamp(item.completion_due_at),
            )
        )
    else:
        message.checkpoint.CopyFrom(_checkpoint(item))
    if item.clock is not None:
        message.clock.CopyFrom(_clock(name, item.clock, now))
        if item.clock.due_at is not None:
            message.due_time.CopyFrom(_present(item.clock.due_at))
    return message


def _checkpoint(item: CheckpointItem) -> operation_pb2.CheckpointStatus:
    return operation_pb2.CheckpointStatus(
        state=operation_pb2.CheckpointState.Value(f"CHECKPOINT_STATE_{item.state.name}"),
        role=item.definition.role,
        claimed_by=item.claimed_by or "",
        assigned_to=item.assigned_to or "",
        decided_by=principal(item.decided_by) if item.decided_by is not None else None,
        digest=item.digest or "",
    )


def _clock(scope: str, clock: SlaClock, now: int) -> event_pb2.ClockReading:
    reading = clock.read(0, now)
    return event_pb2.ClockReading(
        scope=scope, budget_ms=reading.budget_ms, used_ms=reading.used_ms, remaining_ms=reading.remaining_ms
    )


# -- events ------------------------------------------------------------------------------------------------------------


def event(row: Recorded, said: Payloads, cast: Cast, cursor: str, with_record: bool) -> event_pb2.Event:
    """An event from its record. Kinds this daemon does not know pass like any other."""
    return told_event(json.loads(row.record), said, cast, cursor, row.record if with_record else b"")


def told_event(told: Mapping[str, Any], said: Payloads, cast: Cast, cursor: str, record: bytes) -> event_pb2.Event:
    """An event from what its record tells; `record` is sent with it."""
    who, data, sequence = told["principal"], told["data"], told["sequence"]
    subject = told["subject"] or {}
    return event_pb2.Event(
        namespace=told["namespace"],
        operation_id=told["operation"],
        sequence=sequence,
        time=timestamp(moment.read(told["at"])),
        kind=told["kind"],
        principal=principal_pb2.Principal(
            kind=principal_pb2.PrincipalKind.Value(f"PRINCIPAL_KIND_{who['kind'].upper()}"),
            issuer=who["issuer"],
            subject=who["subject"],
            roles=who["roles"],
            method=who["method"],
            responsible=who.get("responsible", ""),
            on_behalf_of=who.get("on_behalf_of", ""),
        ),
        subject=event_pb2.Subject(
            name=subject.get("name", ""), instance=subject.get("instance", 0), attempt=subject.get("attempt", 0)
        ),
        data=_data(told["kind"], data, cast, subject.get("instance", 0)),
        payloads={name: said[sequence, name] for name in told["payloads"] if (sequence, name) in said},
        record=record,
        cursor=cursor,
    )


def _data(kind: str, data: Mapping[str, Any], cast: Cast, instance: int) -> event_pb2.EventData:
    """The facts of a record under the names that the API has for them."""
    decided = kind in ("checkpoint_approved", "checkpoint_rejected")
    item = cast.get(instance)
    return event_pb2.EventData(
        svc=item.svc if isinstance(item, StepDefinition) else "",
        role=data.get("role", ""),
        person=data.get("person") or data.get("assigned_to") or "",
        code=data.get("code", ""),
        retry=data.get("retry", 0),
        retries=data.get("retries", 0),
        retry_time=_time(data, "retry_at"),
        sla_ms=data.get("sla_ms") or 0,
        due_time=_time(data, "due_at"),
        late_ms=data.get("late_ms", 0),
        digest=data.get("digest") or data.get("seen") or "",
        clocks=[
            event_pb2.ClockReading(
                scope=cast[clock["instance"]].name if clock["instance"] in cast else "operation",
                budget_ms=clock["budget_ms"],
                used_ms=clock["used_ms"],
                remaining_ms=clock["budget_ms"] - clock["used_ms"],
            )
            for clock in data.get("clocks", ())
        ],
        unseen=decided and data.get("seen") is None,
        count=data.get("count", 0),
        from_state=data.get("from_state", ""),
        session=data.get("session", ""),
        clock=data.get("clock", ""),
        via=data.get("via", ""),
        job=data.get("job", ""),
    )


def _time(data: Mapping[str, Any], name: str) -> Any:
    return timestamp(moment.read(data[name])) if data.get(name) is not None else None
