"""How state changes by what has happened. Never fails: what is on the timeline has happened.

`apply(None, OperationStarted)` makes an operation; `replay` folds a whole timeline.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import assert_never

from hmsactd.core import events as e
from hmsactd.core.change import changer
from hmsactd.core.clock import SlaClock
from hmsactd.core.operation import CheckpointItem, Completion, Item, Operation, Pause, StepItem
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

changed_operation = changer(Operation)
changed_step = changer(StepItem)
changed_checkpoint = changer(CheckpointItem)
changed_clock = changer(SlaClock)

COMPLETIONS_MAX = 100
"""Completions by token that a step remembers, as many as it can have retries. Of an older one that is repeated nobody
is told who made it, and it may be noted once more as too late."""

REFUSALS_MAX = 16
"""Refusals remembered for gathering. Older ones are forgotten: at worst one is noted twice within a minute."""


def replay(events: Iterable[e.Event], operation: Operation | None = None) -> Operation | None:
    """The state after all these events, the first unless others came before; None before the first."""
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
        sequence=0,
        clock=_clock(event.flow.sla_ms, event.at),
    )
    return _next(operation, event.at, goes_on=True)


def _change(operation: Operation, event: e.Event) -> Operation:
    """Dispatch on the kind, the most frequent first. Every branch ends in `_next`."""
    at = event.at
    match event:
        case e.StepDone():
            item = _step(operation, event.instance)
            done = changed_step(
                item,
                state=STEP[item.state, event.kind],
                since=at,
                output_sequence=operation.sequence + 1,
                output_commitment=event.output.commitment,
                session=None,
                deferred_at=None,
                completion_due_at=None,
                completions=_completions(item, event) if event.via else item.completions,
                clock=_stopped(item.clock, at),
            )
            return _next(operation, at, done, is_passed=True)
        case e.StepStarted():
            item = _step(operation, event.instance)
            started = changed_step(
                item,
                state=STEP[item.state, event.kind],
                since=at,
                attempt=event.attempt,
                session=event.session,
                worker=event.by.id,
                retry_at=None,
                is_unattended=False,
            )
            return _next(operation, at, started)
        case e.OperationCompleted() | e.OperationRejected() | e.OperationFailed() | e.OperationCancelled():
            return _end(operation, event)
        case e.StepFailed():
            item = _step(operation, event.instance)
            trigger = RETRY_AHEAD if event.retry_at is not None else FAILED_LAST
            failed = changed_step(
                item,
                state=STEP[item.state, trigger],
                since=at,
                failures=item.failures + 1,
                losses=0,
                retry_at=event.retry_at,
                code=event.code,
                session=None,
                deferred_at=None,
                completion_due_at=None,
                completions=_completions(item, event) if event.via else item.completions,
                clock=_frozen(operation, item.clock, at),
            )
            return _next(operation, at, failed)
        case e.StepLost():
            item = _step(operation, event.instance)
            state, clock = STEP[item.state, event.kind], _frozen(operation, item.clock, at)
            lost = changed_step(item, state=state, since=at, losses=event.count, session=None, clock=clock)
            return _next(operation, at, lost)
        case e.StepQueued():
            item = _step(operation, event.instance)
            return _next(operation, at, changed_step(item, state=STEP[item.state, event.kind], since=at, retry_at=None))
        case e.StepStalled():
            item = _step(operation, event.instance)
            return _next(operation, at, changed_step(item, state=STEP[item.state, event.kind], since=at))
        case e.StepRetried():
            item = _step(operation, event.instance)
            state = STEP[item.state, event.kind]
            fresh = changed_step(item, state=state, since=at, failures=0, losses=0, is_unattended=False)
            return _next(operation, at, fresh)
        case e.StepSkipped():
            item = _step(operation, event.instance)
            clock = _stopped(item.clock, at)
            skipped = changed_step(item, state=STEP[item.state, event.kind], since=at, clock=clock)
            return _next(operation, at, skipped, is_passed=True)
        case e.StepReportIgnored():
            item = _step(operation, event.instance)
            if event.via:
                return _next(operation, at, changed_step(item, completions=_completions(item, event, is_late=True)))
            return _next(operation, at, changed_step(item, is_late_report_noted=True))
        case e.StepDeferred():
            item = _step(operation, event.instance)
            deferred = changed_step(item, session=None, deferred_at=at, completion_due_at=event.due_at)
            return _next(operation, at, deferred)
        case e.CheckpointPending():
            checkpoint = _checkpoint(operation, event.instance)
            pending = changed_checkpoint(
                checkpoint,
                state=CHECKPOINT[checkpoint.state, event.kind],
                since=at,
                digest=event.digest,
                assigned_to=event.assigned_to,
                clock=_clock(checkpoint.definition.sla_ms, at),
            )
            return _next(operation, at, pending)
        case e.CheckpointClaimed():
            checkpoint = _checkpoint(operation, event.instance)
            return _next(operation, at, changed_checkpoint(checkpoint, claimed_by=event.by.id))
        case e.CheckpointReleased():
            return _next(operation, at, changed_checkpoint(_checkpoint(operation, event.instance), claimed_by=None))
        case e.CheckpointAssigned():
            # An assignment moves the work: a claim of somebody else would keep the assignee from it.
            checkpoint = _checkpoint(operation, event.instance)
            return _next(operation, at, changed_checkpoint(checkpoint, assigned_to=event.person, claimed_by=None))
        case e.CheckpointApproved() | e.CheckpointRejected():
            checkpoint = _checkpoint(operation, event.instance)
            decided = changed_checkpoint(
                checkpoint,
                state=CHECKPOINT[checkpoint.state, event.kind],
                since=at,
                decided_by=event.by,
                clock=_stopped(checkpoint.clock, at),
            )
            return _next(operation, at, decided, is_passed=isinstance(event, e.CheckpointApproved))
        case e.DecisionRefused():
            checkpoint = _checkpoint(operation, event.instance)
            noted = (event.by.id, event.code, at)
            kept = tuple(refusal for refusal in checkpoint.refusals if refusal[:2] != noted[:2])
            return _next(operation, at, changed_checkpoint(checkpoint, refusals=(*kept, noted)[-REFUSALS_MAX:]))
        case e.SlaAtRisk():
            return _with_clock(operation, at, event.instance, is_at_risk=True)
        case e.SlaBreach():
            return _with_clock(operation, at, event.instance, is_breached=True)
        case e.Unattended():
            return _next(operation, at, _changed_item(operation, event.instance, is_unattended=True))
        case e.OperationPaused():
            return _paused(operation, event)
        case e.OperationResumed():
            return _resumed(operation, at)
        case e.OperationStarted():
            raise AssertionError("an operation starts once")
        case _:
            assert_never(event)


# -- the flow ----------------------------------------------------------------------------------------------------------


def _next(
    operation: Operation,
    at: int,
    item: Item | None = None,
    *,
    is_passed: bool = False,
    goes_on: bool = False,
    **changes: object,
) -> Operation:
    """The operation one event later, its state following from the item it then is at.

    `item` takes the place of the one with its instance; if it `is_passed`, the flow goes on to the next. Going on
    enters a step that lies ahead, unless the operation is paused; a checkpoint is entered by an event of its own.
    """
    items, cursor = operation.items, operation.cursor
    if item is not None:
        items = _with(items, item)
    if is_passed:
        cursor += 1
    current = items[cursor] if cursor < len(items) else None
    is_paused = changes.get("pause", operation.pause) is not None
    if (is_passed or goes_on) and not is_paused and isinstance(current, StepItem) and current.state is StepState.AHEAD:
        clock = _clock(current.definition.sla_ms, at)
        current = changed_step(current, state=STEP[current.state, REACHED], since=at, clock=clock)
        items = _with(items, current)
    state = operation.state
    if operation.ended_at is None:
        state = OperationState.PAUSED if is_paused else FOLLOWS[current.state] if current else OperationState.RUNNING
    return changed_operation(
        operation,
        **{
            "sequence": operation.sequence + 1,
            "updated_at": at,
            "items": items,
            "cursor": cursor,
            "state": state,
            **changes,
        },
    )


def _with(items: tuple[Item, ...], item: Item) -> tuple[Item, ...]:
    index = item.instance - 1
    return (*items[:index], item, *items[index + 1 :])


def _end(operation: Operation, event: e.Event) -> Operation:
    current = operation.current
    item = None
    if current is not None and current.clock is not None:
        item = _changed_item(operation, current.instance, clock=current.clock.stop(event.at))
    ended = _next(operation, event.at, item, clock=_stopped(operation.clock, event.at), pause=None)
    return changed_operation(ended, state=ENDS[event.kind], ended_at=event.at)


# -- pause -------------------------------------------------------------------------------------------------------------


def _paused(operation: Operation, event: e.OperationPaused) -> Operation:
    at = event.at
    pause = Pause(at, event.by, event.clock == "stop")
    clock = _stopped(operation.clock, at) if pause.stops_clock else operation.clock
    current = operation.current
    item = None
    if current is not None and current.clock is not None and current.state is not StepState.RUNNING:
        item = _changed_item(operation, current.instance, clock=current.clock.stop(at))
    return _next(operation, at, item, pause=pause, clock=clock)


def _frozen(operation: Operation, clock: SlaClock | None, at: int) -> SlaClock | None:
    """The clock of a step whose attempt ends: while the operation is paused it stops with that."""
    return _stopped(clock, at) if operation.pause is not None else clock


def _resumed(operation: Operation, at: int) -> Operation:
    clock = operation.clock.start(at) if operation.clock is not None else None
    item = operation.current
    if item is not None and item.clock is not None:
        item = _changed_item(operation, item.instance, clock=item.clock.start(at))
    if isinstance(item, StepItem) and item.state is StepState.QUEUED:
        # While frozen it was offered to nobody: its wait for a worker begins now.
        item = changed_step(item, since=at)
    return _next(operation, at, item, goes_on=True, pause=None, clock=clock)


# -- completions -------------------------------------------------------------------------------------------------------


def _completions(
    item: StepItem, event: e.StepDone | e.StepFailed | e.StepReportIgnored, *, is_late: bool = False
) -> tuple[Completion, ...]:
    """What was said of the step's attempts with their tokens, this included."""
    said = Completion(event.attempt, event.at, event.by.id, isinstance(event, e.StepFailed), is_late)
    return (*item.completions, said)[-COMPLETIONS_MAX:]


# -- items and clocks --------------------------------------------------------------------------------------------------


def _step(operation: Operation, instance: int) -> StepItem:
    item = operation.item(instance)
    assert isinstance(item, StepItem), f"instance {instance} is not a step"
    return item


def _checkpoint(operation: Operation, instance: int) -> CheckpointItem:
    item = operation.item(instance)
    assert isinstance(item, CheckpointItem), f"instance {instance} is not a checkpoint"
    return item


def _changed_item(operation: Operation, instance: int, **changes: object) -> Item:
    item = operation.item(instance)
    assert item is not None, f"there is no instance {instance}"
    return changed_step(item, **changes) if isinstance(item, StepItem) else changed_checkpoint(item, **changes)


def _clock(budget_ms: int | None, at: int) -> SlaClock | None:
    return SlaClock(budget_ms, running_since=at) if budget_ms is not None else None


def _stopped(clock: SlaClock | None, at: int) -> SlaClock | None:
    return clock.stop(at) if clock is not None else None


def _with_clock(operation: Operation, at: int, instance: int, **said: bool) -> Operation:
    """The operation with something said of a clock: its own for instance 0, else an item's."""
    item = operation.item(instance)
    clock = operation.clock if item is None else item.clock
    assert clock is not None, "only a clock that is there can be said to be late"
    clock = changed_clock(clock, **said)
    if item is None:
        return _next(operation, at, clock=clock)
    return _next(operation, at, _changed_item(operation, instance, clock=clock))
