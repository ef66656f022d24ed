"""How state changes by what has happened. Never fails: what is on the timeline has happened.

`apply(None, OperationStarted)` makes an operation; `replay` folds a whole timeline.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import assert_never

from hmsactd.core import events as e
from hmsactd.core.clock import SlaClock
from hmsactd.core.operation import CheckpointItem, Item, Operation, Pause, StepItem
from hmsactd.core.transitions import (
    CHECKPOINT,
    ENDS,
    FAILED_LAST,
    FOLLOWS,
    REACHED,
    RETRY_AHEAD,
    STEP,
    OperationState,
    StepState,
)
from hmsactd.definition.flow import StepDefinition

REFUSALS_MAX = 16
"""Refusals remembered for gathering. Older ones are forgotten: at worst one is noted twice within a minute."""


def replay(events: Iterable[e.Event]) -> Operation | None:
    """The state after all these events; None before the first."""
    operation: Operation | None = None
    for event in events:
        operation = apply(operation, event)
    return operation


def apply(operation: Operation | None, event: e.Event) -> Operation:
    """The state after one more event."""
    if operation is None:
        assert isinstance(event, e.OperationStarted), "a timeline begins with operation_started"
        return _begin(event)
    return _change(operation, event)


def _begin(event: e.OperationStarted) -> Operation:
    items: list[Item] = [
        StepItem(definition, instance)
        if isinstance(definition, StepDefinition)
        else CheckpointItem(definition, instance, assigned_to=definition.assigned_to)
        for instance, definition in enumerate(event.flow.items, 1)
    ]
    operation = Operation(
        flow=event.flow,
        items=tuple(items),
        started_by=event.by,
        started_at=event.at,
        input_commitment=event.input.commitment,
        state=OperationState.RUNNING,
        updated_at=event.at,
        clock=_clock(event.flow.sla_ms, event.at),
    )
    return _reach(operation, event.at)


def _change(operation: Operation, event: e.Event) -> Operation:
    """Dispatch on the kind; every branch returns the operation with its place on the timeline moved on."""
    at = event.at
    moved = replace(operation, sequence=operation.sequence + 1, updated_at=at)
    match event:
        case e.StepDone():
            item = _step(moved, event.instance)
            done = replace(
                _move(item, event.kind, at),
                output_sequence=moved.sequence,
                output_commitment=event.output.commitment,
                session=None,
                clock=_stopped(item.clock, at),
            )
            return _pass(moved, done, at)
        case e.StepStarted():
            item = _step(moved, event.instance)
            return _put(
                moved,
                replace(
                    _move(item, event.kind, at),
                    attempt=event.attempt,
                    session=event.session,
                    worker=event.by.id,
                    retry_at=None,
                    is_unattended=False,
                ),
            )
        case e.OperationCompleted() | e.OperationRejected() | e.OperationFailed() | e.OperationCancelled():
            return _end(moved, event)
        case e.StepFailed():
            item = _step(moved, event.instance)
            trigger = RETRY_AHEAD if event.retry_at is not None else FAILED_LAST
            failed = replace(
                _move(item, trigger, at),
                failures=item.failures + 1,
                losses=0,
                retry_at=event.retry_at,
                code=event.code,
                session=None,
            )
            return _put(moved, _freeze(moved, failed, at))
        case e.StepLost():
            item = _step(moved, event.instance)
            lost = replace(_move(item, event.kind, at), losses=event.count, session=None)
            return _put(moved, _freeze(moved, lost, at))
        case e.StepQueued():
            return _put(moved, replace(_move(_step(moved, event.instance), event.kind, at), retry_at=None))
        case e.StepStalled():
            return _put(moved, _move(_step(moved, event.instance), event.kind, at))
        case e.StepRetried():
            item = _step(moved, event.instance)
            return _put(moved, replace(_move(item, event.kind, at), failures=0, losses=0, is_unattended=False))
        case e.StepSkipped():
            item = _step(moved, event.instance)
            return _pass(moved, replace(_move(item, event.kind, at), clock=_stopped(item.clock, at)), at)
        case e.StepReportIgnored():
            return _put(moved, replace(_step(moved, event.instance), is_late_report_noted=True))
        case e.CheckpointPending():
            checkpoint = _checkpoint(moved, event.instance)
            return _put(
                moved,
                replace(
                    checkpoint,
                    state=CHECKPOINT[checkpoint.state, event.kind],
                    since=at,
                    digest=event.digest,
                    assigned_to=event.assigned_to,
                    clock=_clock(checkpoint.definition.sla_ms, at),
                ),
            )
        case e.CheckpointClaimed():
            return _put(moved, replace(_checkpoint(moved, event.instance), claimed_by=event.by.id))
        case e.CheckpointReleased():
            return _put(moved, replace(_checkpoint(moved, event.instance), claimed_by=None))
        case e.CheckpointAssigned():
            # An assignment moves the work: a claim of somebody else would keep the assignee from it.
            checkpoint = _checkpoint(moved, event.instance)
            return _put(moved, replace(checkpoint, assigned_to=event.person, claimed_by=None))
        case e.CheckpointApproved() | e.CheckpointRejected():
            checkpoint = _checkpoint(moved, event.instance)
            decided = replace(
                checkpoint,
                state=CHECKPOINT[checkpoint.state, event.kind],
                since=at,
                decided_by=event.by,
                clock=_stopped(checkpoint.clock, at),
            )
            if isinstance(event, e.CheckpointApproved):
                return _pass(moved, decided, at)
            return _put(moved, decided)
        case e.DecisionRefused():
            checkpoint = _checkpoint(moved, event.instance)
            noted = (event.by.id, event.code, at)
            kept = tuple(refusal for refusal in checkpoint.refusals if refusal[:2] != noted[:2])
            return _put(moved, replace(checkpoint, refusals=(*kept, noted)[-REFUSALS_MAX:]))
        case e.SlaAtRisk():
            return _with_clock(moved, event.instance, is_at_risk=True)
        case e.SlaBreach():
            return _with_clock(moved, event.instance, is_breached=True)
        case e.Unattended():
            item_ = moved.item(event.instance)
            assert item_ is not None
            return _put(moved, replace(item_, is_unattended=True))
        case e.OperationPaused():
            return _paused(moved, event)
        case e.OperationResumed():
            return _resumed(moved, at)
        case e.OperationStarted():
            raise AssertionError("an operation starts once")
        case _:
            assert_never(event)


# -- the flow ----------------------------------------------------------------------------------------------------------


def _reach(operation: Operation, at: int) -> Operation:
    """Enter the current item if it is a step that lies ahead; a checkpoint is entered by its own event."""
    item = operation.current
    if operation.pause is None and isinstance(item, StepItem) and item.state is StepState.AHEAD:
        queued = replace(_move(item, REACHED, at), clock=_clock(item.definition.sla_ms, at))
        return _put(operation, queued)
    return _settle(operation)


def _pass(operation: Operation, item: Item, at: int) -> Operation:
    """Leave an item that is over behind and go to the next."""
    return _reach(replace(_replaced(operation, item), cursor=operation.cursor + 1), at)


def _put(operation: Operation, item: Item) -> Operation:
    return _settle(_replaced(operation, item))


def _replaced(operation: Operation, item: Item) -> Operation:
    index = item.instance - 1
    return replace(operation, items=(*operation.items[:index], item, *operation.items[index + 1 :]))


def _settle(operation: Operation) -> Operation:
    """Let the state of an open operation follow from the item it is at."""
    if operation.ended_at is not None:
        return operation
    if operation.pause is not None:
        state = OperationState.PAUSED
    else:
        current = operation.current
        state = FOLLOWS[current.state] if current is not None else OperationState.RUNNING
    return operation if state is operation.state else replace(operation, state=state)


def _end(operation: Operation, event: e.Event) -> Operation:
    current = operation.current
    if current is not None and current.clock is not None:
        operation = _replaced(operation, replace(current, clock=_stopped(current.clock, event.at)))
    return replace(
        operation,
        state=ENDS[event.kind],
        ended_at=event.at,
        pause=None,
        clock=_stopped(operation.clock, event.at),
    )


# -- pause -------------------------------------------------------------------------------------------------------------


def _paused(operation: Operation, event: e.OperationPaused) -> Operation:
    pause = Pause(event.at, event.by, event.clock == "stop")
    clock = _stopped(operation.clock, event.at) if pause.stops_clock else operation.clock
    paused = replace(operation, pause=pause, clock=clock)
    current = paused.current
    return _put(paused, _freeze(paused, current, event.at)) if current is not None else _settle(paused)


def _freeze(operation: Operation, item: Item, at: int) -> Item:
    """Stop the clock of an item while the operation is paused, unless a worker still has it."""
    if operation.pause is None or item.clock is None or item.state is StepState.RUNNING:
        return item
    return replace(item, clock=item.clock.stop(at))


def _resumed(operation: Operation, at: int) -> Operation:
    clock = operation.clock.start(at) if operation.clock is not None else None
    resumed = replace(operation, pause=None, clock=clock)
    current = resumed.current
    if current is not None and current.clock is not None:
        current = replace(current, clock=current.clock.start(at))
        resumed = _replaced(resumed, current)
    if isinstance(current, StepItem) and current.state is StepState.QUEUED:
        # No worker was looked for in the meantime, so none was missing.
        resumed = _replaced(resumed, replace(current, since=at))
    return _reach(resumed, at)


# -- items and clocks --------------------------------------------------------------------------------------------------


def _move(item: StepItem, trigger: str, at: int) -> StepItem:
    return replace(item, state=STEP[item.state, trigger], since=at)


def _step(operation: Operation, instance: int) -> StepItem:
    item = operation.item(instance)
    assert isinstance(item, StepItem), f"instance {instance} is not a step"
    return item


def _checkpoint(operation: Operation, instance: int) -> CheckpointItem:
    item = operation.item(instance)
    assert isinstance(item, CheckpointItem), f"instance {instance} is not a checkpoint"
    return item


def _clock(budget_ms: int | None, at: int) -> SlaClock | None:
    return SlaClock(budget_ms, running_since=at) if budget_ms is not None else None


def _stopped(clock: SlaClock | None, at: int) -> SlaClock | None:
    return clock.stop(at) if clock is not None else None


def _with_clock(operation: Operation, instance: int, **said: bool) -> Operation:
    if instance == 0:
        assert operation.clock is not None
        return replace(operation, clock=replace(operation.clock, **said))
    item = operation.item(instance)
    assert item is not None and item.clock is not None
    return _put(operation, replace(item, clock=replace(item.clock, **said)))
