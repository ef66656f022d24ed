"""What happens when an operation is told something.

`decide` first settles every clock that is due, so that no late report hides a breach; then it hears what it is told.
It returns what has happened and the operation after it: no events for stale news, such as the report of an attempt
that is over; `Rejected` for what is not allowed.
"""

from __future__ import annotations

from typing import assert_never

from hmsactd.core import events as e
from hmsactd.core import inputs as i
from hmsactd.core.attempts import erred, fail, in_hand, lost, succeeded, taken
from hmsactd.core.decisions import decided, handed, nobody_entitled, note_refusal
from hmsactd.core.deferral import completed, deferred, note_late_completion
from hmsactd.core.due import Alarm, Due, next_to_settle
from hmsactd.core.operation import Operation, StepItem
from hmsactd.core.people import may_skip
from hmsactd.core.principal import DAEMON
from hmsactd.core.rejected import Ground, Rejected
from hmsactd.core.story import Outcome, Story, advance, still_open
from hmsactd.core.transitions import StepState


def decide(operation: Operation | None, told: i.Input, now: int) -> Outcome:
    """Hear `told` at `now` (microseconds since the epoch; earlier than the last event counts as then)."""
    if operation is None:
        if not isinstance(told, i.Start):
            return Outcome((), None)
        story = Story(None, now)
        story.add(
            e.OperationStarted(
                now, told.by, told.flow, told.input, told.labels, told.key, told.requested_by, told.reason
            )
        )
        advance(story)
        return story.outcome()
    story = Story(operation, max(now, operation.updated_at))
    _settle_clocks(story)
    _hear(story, told)
    return story.outcome()


def _hear(story: Story, told: i.Input) -> None:
    match told:
        case i.StepSucceeded():
            succeeded(story, told)
        case i.StepTaken():
            taken(story, told)
        case i.StepErred():
            erred(story, told)
        case i.StepDeferred():
            deferred(story, told)
        case i.CompleteStep():
            completed(story, told)
        case i.NoteLateCompletion():
            note_late_completion(story, told)
        case i.WorkerLost():
            lost(story, told)
        case i.HeartbeatMissed():
            if (item := in_hand(story, told.instance, told.attempt)) is not None:
                fail(story, item, told.by, "HEARTBEAT_TIMEOUT")
        case i.TimerDue():
            pass
        case i.NobodyEntitled():
            nobody_entitled(story, told)
        case i.Decide():
            decided(story, told)
        case i.NoteRefusal():
            note_refusal(story, told)
        case i.Claim() | i.Release() | i.Assign():
            handed(story, told)
        case i.Pause():
            _pause(story, told)
        case i.Resume():
            _resume(story, told)
        case i.Cancel():
            operation = still_open(story, told.expected_revision)
            story.add(e.OperationCancelled(story.now, told.by, operation.state.value, told.reason, told.job))
        case i.RetryStep():
            item = _stalled(story, told.step, told.expected_revision)
            story.add(e.StepRetried(story.now, told.by, item.instance, told.reason, told.job))
        case i.SkipStep():
            item = _stalled(story, told.step, told.expected_revision)
            may_skip(story.operation, told.by)
            story.add(e.StepSkipped(story.now, told.by, item.instance, told.reason))
            advance(story)
        case i.Start():
            raise Rejected(Ground.PRECONDITION, "OPERATION_EXISTS", "the operation has been started before")
        case _:
            assert_never(told)


# -- operators ---------------------------------------------------------------------------------------------------------


def _stalled(story: Story, name: str, expected_revision: int | None) -> StepItem:
    operation = still_open(story, expected_revision)
    item = operation.step(name)
    if item is None:
        if operation.checkpoint(name) is not None:
            raise Rejected(
                Ground.PRECONDITION, "NOT_A_STEP", f"{name} is a checkpoint: it is decided, not retried or skipped"
            )
        raise Rejected(Ground.UNKNOWN, "STEP_UNKNOWN", f"the operation has no step {name}")
    if item.state is not StepState.STALLED:
        raise Rejected(
            Ground.PRECONDITION,
            "STEP_NOT_STALLED",
            f"{name} is {item.state.value}, not stalled",
            state=item.state.value,
        )
    return item


def _pause(story: Story, told: i.Pause) -> None:
    operation = still_open(story, told.expected_revision)
    if operation.pause is not None:
        raise Rejected(
            Ground.PRECONDITION, "OPERATION_PAUSED", f"{operation.pause.by.id} has paused the operation before"
        )
    clocks: list[e.ClockReading] = []
    if told.stop_clock and operation.clock is not None:
        clocks.append(operation.clock.read(0, story.now))
    item = operation.current
    if item is not None and item.clock is not None and item.state is not StepState.RUNNING:
        clocks.append(item.clock.read(item.instance, story.now))
    clock = "stop" if told.stop_clock else "run"
    story.add(e.OperationPaused(story.now, told.by, clock, tuple(clocks), told.reason, told.job))


def _resume(story: Story, told: i.Resume) -> None:
    operation = still_open(story, told.expected_revision)
    if operation.pause is None:
        raise Rejected(
            Ground.PRECONDITION, "OPERATION_NOT_PAUSED", f"the operation is {operation.state.value}, not paused"
        )
    clocks: list[e.ClockReading] = []
    if operation.clock is not None and operation.clock.running_since is None:
        clocks.append(operation.clock.read(0, story.now))
    item = operation.current
    if item is not None and item.clock is not None and item.clock.running_since is None:
        clocks.append(item.clock.read(item.instance, story.now))
    story.add(e.OperationResumed(story.now, told.by, tuple(clocks), told.reason, told.job))
    # What came due while the operation was frozen is dealt with at once, not at the next wake.
    _settle_clocks(story)
    advance(story)


# -- clocks ------------------------------------------------------------------------------------------------------------


def _settle_clocks(story: Story) -> None:
    """Let everything happen that is due by now."""
    while (due := next_to_settle(story.operation, story.now)) is not None:
        _happen(story, due)


def _happen(story: Story, due: Due) -> None:
    operation, now = story.operation, story.now
    late_ms = (now - due.at) // 1000
    item = operation.item(due.instance)
    match due.alarm:
        case Alarm.AT_RISK | Alarm.BREACH:
            clock = operation.clock if item is None else item.clock
            assert clock is not None
            kind = e.SlaAtRisk if due.alarm is Alarm.AT_RISK else e.SlaBreach
            story.add(kind(now, DAEMON, due.instance, clock.budget_ms, due.at, late_ms))
        case Alarm.TIMEOUT:
            assert isinstance(item, StepItem)
            fail(story, item, DAEMON, "TIMEOUT")
        case Alarm.RETRY:
            story.add(e.StepQueued(now, DAEMON, due.instance))
        case Alarm.UNATTENDED:
            story.add(e.Unattended(now, DAEMON, due.instance, due.at, late_ms))
        case _:
            assert_never(due.alarm)
