"""What holds for every operation after everything it is told. Used by every test of the core."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from hmsactd.core import events as e
from hmsactd.core.apply import apply, replay
from hmsactd.core.operation import CheckpointItem, Item, Operation, StepItem
from hmsactd.core.outstanding import outstanding
from hmsactd.core.transitions import (
    CHECKPOINT,
    ENDS,
    FAILED_LAST,
    FOLLOWS,
    REACHED,
    RETRY_AHEAD,
    STEP,
    CheckpointState,
    OperationState,
    StepState,
)

NOTES = (e.StepReportIgnored,)
"""What may follow the end of an operation."""

ONCE = ("sla_at_risk", "sla_breach")

Move = tuple[StepState, str] | tuple[CheckpointState, str]


def check(before: Operation | None, new: Sequence[e.Event], after: Operation | None, known: Sequence[e.Event]) -> None:
    """`new` have led from `before` to `after`; `known` is the whole timeline, these included."""
    folded = before
    for event in new:
        assert folded is None or event.at >= folded.updated_at, "times go backwards"
        earlier, folded = folded, apply(folded, event)
        assert folded.sequence == (earlier.sequence + 1 if earlier else 1)
        if earlier is not None:
            check_move(earlier, event, folded)
    assert folded == after, "what was decided is not what its events lead to"
    assert replay(known) == after, "the timeline leads to another state"
    if after is not None:
        check_state(after)
        check_timeline(known)


def check_move(before: Operation, event: e.Event, after: Operation) -> None:
    """Every change of state is in the tables, and only the item of the event and the next one change."""
    assert not before.is_final or isinstance(event, NOTES), "work goes on after the end"
    assert before.state is after.state or not before.is_final, "a final state was left"
    assert after.cursor in (before.cursor, before.cursor + 1)
    for old, new in zip(before.items, after.items, strict=True):
        if old.state is not new.state:
            assert (old.state, new.state) in moves_by(event, is_own=old.instance == getattr(event, "instance", 0))
        assert old.instance == new.instance
        assert old.definition is new.definition
        assert not old.is_over or without_notes(old) == without_notes(new), "an item that is over was touched"


def without_notes(item: Item) -> Item:
    """The item without what is noted beside it at any time: refusals, completions that came too late."""
    return replace(item, refusals=()) if isinstance(item, CheckpointItem) else replace(item, completions=())


def moves_by(event: e.Event, *, is_own: bool) -> set[tuple[str, str]]:
    """The changes of state that the tables allow for an item, its own event or another's having happened."""
    trigger = event.kind if is_own else REACHED
    if isinstance(event, e.StepFailed) and is_own:
        trigger = FAILED_LAST if event.retry_at is None else RETRY_AHEAD
    steps = {(old, new) for (old, by), new in STEP.items() if by == trigger}
    return steps | {(old, new) for (old, by), new in CHECKPOINT.items() if by == trigger}


def check_state(operation: Operation) -> None:
    """The parts of a state fit together."""
    item = operation.current
    behind, ahead = operation.items[: operation.cursor], operation.items[operation.cursor + 1 :]
    assert all(each.is_over for each in behind)
    assert all(each.state in (StepState.AHEAD, CheckpointState.AHEAD) for each in ahead)
    assert operation.is_final == operation.state.is_final == (operation.state in ENDS.values())
    if operation.is_final:
        assert outstanding(operation) == ()
        assert operation.pause is None
        assert operation.clock is None or operation.clock.running_since is None
    elif operation.pause is not None:
        assert operation.state is OperationState.PAUSED
    else:
        assert item is not None
        assert operation.state is FOLLOWS[item.state]
    for each in operation.items:
        if each is not item or operation.is_final:
            assert each.clock is None or each.clock.running_since is None, "a clock runs for nothing"
        if isinstance(each, StepItem):
            is_deferred = each.deferred_at is not None
            assert (each.session is not None) is (each.state is StepState.RUNNING and not is_deferred)
            assert each.state is StepState.RUNNING or not is_deferred, "what is over is deferred"
            assert is_deferred or each.completion_due_at is None
            assert (each.retry_at is not None) is (each.state is StepState.RETRYING)
    if operation.pause is None and not operation.is_final:
        assert outstanding(operation) or operation.state is OperationState.STALLED, "it waits for nothing"


def check_timeline(events: Sequence[e.Event]) -> None:
    """Nothing that happens once has happened twice."""
    outcomes = Counter(event.instance for event in events if isinstance(event, e.StepDone | e.StepSkipped))
    said = Counter((event.kind, event.instance) for event in events if isinstance(event, e.SlaAtRisk | e.SlaBreach))
    ends = [event for event in events if event.kind in ENDS]
    late = Counter(
        (event.instance, event.attempt) if event.via else (event.instance, 0)
        for event in events
        if isinstance(event, e.StepReportIgnored)
    )
    completed = Counter(
        (event.instance, event.attempt)
        for event in events
        if isinstance(event, e.StepDone | e.StepFailed | e.StepReportIgnored) and event.via
    )
    attempts = [(event.instance, event.attempt) for event in events if isinstance(event, e.StepStarted)]
    for counted in (outcomes, said, late, completed):
        assert all(times == 1 for times in counted.values())
    assert len(ends) <= 1
    assert len(set(attempts)) == len(attempts), "two holders share an attempt"
    assert isinstance(events[0], e.OperationStarted)
    for event in events:
        for reading in getattr(event, "clocks", ()):
            assert reading.used_ms >= 0
            assert reading.used_ms + reading.remaining_ms == reading.budget_ms
