"""What happens when an operation is told something.

`decide` first settles every clock that is due, so that no late report hides a breach; then it hears what it is told.
It returns what has happened and the operation after it: no events for stale news, such as the report of an attempt
that is over; `Rejected` for what is not allowed.
"""

from __future__ import annotations

from typing import assert_never

from hmsactd.core import events as e
from hmsactd.core import inputs as i
from hmsactd.core.apply import apply
from hmsactd.core.completion import too_late
from hmsactd.core.due import Alarm, Due, next_to_settle
from hmsactd.core.operation import CheckpointItem, Operation, StepItem
from hmsactd.core.payload import Payload
from hmsactd.core.people import may_decide, may_hold, may_skip
from hmsactd.core.principal import DAEMON, Principal
from hmsactd.core.rejected import Ground, Rejected
from hmsactd.core.retry import retry_delay_ms
from hmsactd.core.shown import shown_digest
from hmsactd.core.transitions import CheckpointState, StepState
from hmsactd.definition.flow import OnExhausted
from hmsactd.value import value

LOSSES_MAX = 3
"""The third worker lost on the same step counts as a failure: the call may be what kills them."""

REFUSALS_GATHERED_US = 60_000_000
"""Within a minute, the same refusal of the same person is one event."""


@value(frozen=True, slots=True)
class Outcome:
    """What has happened, in order, and the operation after it."""

    events: tuple[e.Event, ...]
    operation: Operation | None


def decide(operation: Operation | None, told: i.Input, now: int) -> Outcome:
    """Hear `told` at `now` (microseconds since the epoch; earlier than the last event counts as then)."""
    if operation is None:
        if not isinstance(told, i.Start):
            return Outcome((), None)
        story = _Story(None, now)
        story.add(
            e.OperationStarted(
                now, told.by, told.flow, told.input, told.labels, told.key, told.requested_by, told.reason
            )
        )
        _advance(story)
        return story.outcome()
    story = _Story(operation, max(now, operation.updated_at))
    _settle_clocks(story)
    _hear(story, told)
    return story.outcome()


class _Story:
    """Events as they come about, and the operation they have led to so far."""

    def __init__(self, operation: Operation | None, now: int) -> None:
        self.now = now
        self._operation = operation
        self._events: list[e.Event] = []

    @property
    def operation(self) -> Operation:
        assert self._operation is not None
        return self._operation

    def add(self, event: e.Event) -> None:
        self._operation = apply(self._operation, event)
        self._events.append(event)

    def outcome(self) -> Outcome:
        return Outcome(tuple(self._events), self._operation)


def _hear(story: _Story, told: i.Input) -> None:
    match told:
        case i.StepSucceeded():
            _succeeded(story, told)
        case i.StepTaken():
            _taken(story, told)
        case i.StepErred():
            _erred(story, told)
        case i.StepDeferred():
            _deferred(story, told)
        case i.CompleteStep():
            _completed(story, told)
        case i.NoteLateCompletion():
            _note_late_completion(story, told)
        case i.WorkerLost():
            _lost(story, told)
        case i.HeartbeatMissed():
            if (item := _in_hand(story, told.instance, told.attempt)) is not None:
                _fail(story, item, told.by, "HEARTBEAT_TIMEOUT")
        case i.TimerDue():
            pass
        case i.NobodyEntitled():
            _nobody_entitled(story, told)
        case i.Decide():
            _decided(story, told)
        case i.NoteRefusal():
            _note_refusal(story, told)
        case i.Claim() | i.Release() | i.Assign():
            _handed(story, told)
        case i.Pause():
            _pause(story, told)
        case i.Resume():
            _resume(story, told)
        case i.Cancel():
            operation = _open(story, told.expected_revision)
            story.add(e.OperationCancelled(story.now, told.by, operation.state.value, told.reason, told.job))
        case i.RetryStep():
            item = _stalled(story, told.step, told.expected_revision)
            story.add(e.StepRetried(story.now, told.by, item.instance, told.reason, told.job))
        case i.SkipStep():
            item = _stalled(story, told.step, told.expected_revision)
            may_skip(story.operation, told.by)
            story.add(e.StepSkipped(story.now, told.by, item.instance, told.reason))
            _advance(story)
        case i.Start():
            raise Rejected(Ground.PRECONDITION, "OPERATION_EXISTS", "the operation has been started before")
        case _:
            assert_never(told)


# -- the flow ----------------------------------------------------------------------------------------------------------


def _advance(story: _Story) -> None:
    """Go on to what follows an item that is over: a checkpoint asks, the end completes. A step queues by itself."""
    operation = story.operation
    if operation.pause is not None or operation.is_final:
        return
    item = operation.current
    if item is None:
        story.add(e.OperationCompleted(story.now, DAEMON))
    elif isinstance(item, CheckpointItem) and item.state is CheckpointState.AHEAD:
        digest = shown_digest(operation, item)
        role, assigned_to = item.definition.role, item.definition.assigned_to
        if assigned_to == operation.started_by.person:
            # Assigned to whoever may not decide it, it would wait for the wrong person.
            assigned_to = None
        story.add(e.CheckpointPending(story.now, DAEMON, item.instance, role, digest, assigned_to))


def _open(story: _Story, expected_revision: int | None) -> Operation:
    """The operation, if it is open and its flow is as the caller has seen it."""
    operation = story.operation
    if operation.is_final:
        raise Rejected(
            Ground.PRECONDITION,
            "OPERATION_FINAL",
            f"the operation is {operation.state.value}: nothing more can be done with it",
            state=operation.state.value,
        )
    if expected_revision is not None and expected_revision != operation.revision:
        raise Rejected(
            Ground.CHANGED,
            "REVISION_CHANGED",
            f"the flow is at revision {operation.revision}, not {expected_revision}",
            revision=str(operation.revision),
        )
    return operation


# -- steps -------------------------------------------------------------------------------------------------------------


def _running(story: _Story, instance: int, attempt: int) -> StepItem | None:
    """The step, if this very attempt of it is under way in an open operation."""
    item = story.operation.item(instance)
    if story.operation.is_final or not isinstance(item, StepItem):
        return None
    return item if item.state is StepState.RUNNING and item.attempt == attempt else None


def _in_hand(story: _Story, instance: int, attempt: int) -> StepItem | None:
    """The step, if this very attempt of it is with a worker: one that was deferred is with nobody."""
    item = _running(story, instance, attempt)
    return item if item is not None and item.deferred_at is None else None


def _check_holder(item: StepItem, by: Principal) -> None:
    """Only whoever was given an attempt reports on it."""
    if item.worker != by.id:
        raise Rejected(
            Ground.PERMISSION, "NOT_THE_HOLDER", f"{item.definition.name} is with {item.worker}, not with {by.id}"
        )


def _taken(story: _Story, told: i.StepTaken) -> None:
    item = story.operation.current
    if story.operation.is_final or story.operation.pause is not None or not isinstance(item, StepItem):
        return
    if item.instance == told.instance and item.state is StepState.QUEUED and item.attempt + 1 == told.attempt:
        story.add(e.StepStarted(story.now, told.by, told.instance, told.attempt, told.session))


def _succeeded(story: _Story, told: i.StepSucceeded) -> None:
    item = _in_hand(story, told.instance, told.attempt)
    if item is not None:
        _check_holder(item, told.by)
        story.add(e.StepDone(story.now, told.by, told.instance, told.attempt, told.output))
        _advance(story)
    else:
        _note_late_report(story, told.by, told.instance, told.attempt, "DONE", output=told.output)


def _erred(story: _Story, told: i.StepErred) -> None:
    item = _in_hand(story, told.instance, told.attempt)
    if item is not None:
        _check_holder(item, told.by)
        _fail(story, item, told.by, told.code, told.error, told.is_permanent, told.retry_after_ms)
    else:
        _note_late_report(story, told.by, told.instance, told.attempt, told.code, error=told.error)


def _note_late_report(
    story: _Story,
    by: Principal,
    instance: int,
    attempt: int,
    code: str,
    output: Payload | None = None,
    error: Payload | None = None,
) -> None:
    """Keep the first report of the attempt that was under way when the operation ended; every other is stale."""
    item = story.operation.item(instance)
    if (
        story.operation.is_final
        and isinstance(item, StepItem)
        and item.state is StepState.RUNNING
        and item.attempt == attempt
        and item.deferred_at is None
        and not item.is_late_report_noted
    ):
        _check_holder(item, by)
        story.add(e.StepReportIgnored(story.now, by, instance, attempt, code, output, error))


def _lost(story: _Story, told: i.WorkerLost) -> None:
    item = _in_hand(story, told.instance, told.attempt)
    if item is None:
        return
    if item.losses + 1 >= LOSSES_MAX:
        _fail(story, item, told.by, "WORKER_LOST")
    else:
        clocks = _frozen_clock(story, item)
        story.add(e.StepLost(story.now, told.by, told.instance, told.attempt, item.losses + 1, clocks))


def _fail(
    story: _Story,
    item: StepItem,
    by: Principal,
    code: str,
    error: Payload | None = None,
    is_permanent: bool = False,
    wish_ms: int | None = None,
    via: str | None = None,
) -> None:
    """End an attempt without success: another one lies ahead, or the step stalls, or the operation fails."""
    definition, now, attempt = item.definition, story.now, item.attempt
    clocks = _frozen_clock(story, item)
    if not is_permanent and item.failures < definition.retries:
        retry = item.failures + 1
        seed = f"{story.operation.input_commitment}/{item.instance}/{attempt}"
        retry_at = now + 1000 * retry_delay_ms(definition, retry, seed, wish_ms)
        story.add(
            e.StepFailed(now, by, item.instance, attempt, code, definition.retries, retry, retry_at, error, clocks, via)
        )
        return
    last = e.StepFailed(now, by, item.instance, attempt, code, definition.retries, error=error, clocks=clocks, via=via)
    story.add(last)
    if is_permanent or definition.on_exhausted is OnExhausted.FAIL:
        story.add(e.OperationFailed(now, DAEMON, item.instance, code))
    else:
        story.add(e.StepStalled(now, DAEMON, item.instance, code))


def _frozen_clock(story: _Story, item: StepItem) -> tuple[e.ClockReading, ...]:
    """The reading of a clock that stops because the attempt ends while the operation is paused."""
    if story.operation.pause is None or item.clock is None:
        return ()
    return (item.clock.read(item.instance, story.now),)


# -- deferred steps ----------------------------------------------------------------------------------------------------


def _deferred(story: _Story, told: i.StepDeferred) -> None:
    item = _in_hand(story, told.instance, told.attempt)
    if item is None:
        return
    _check_holder(item, told.by)
    due_at = None
    if told.within_ms is not None:
        due_at = story.now + told.within_ms * 1000
    elif item.definition.timeout_ms is not None:
        due_at = item.since + item.definition.timeout_ms * 1000
    story.add(e.StepDeferred(story.now, told.by, told.instance, told.attempt, due_at))


def _completed(story: _Story, told: i.CompleteStep) -> None:
    """Take what is said with the token of an attempt that is under way, deferred or not.

    Whoever was given the token may use it before the worker's word that it defers is on the record.
    """
    item = _running(story, told.instance, told.attempt)
    if item is None:
        raise too_late(story.operation, told)
    if told.output is None:
        _fail(story, item, told.by, told.code, told.error, told.is_permanent, told.retry_after_ms, e.VIA_COMPLETION)
    else:
        story.add(e.StepDone(story.now, told.by, told.instance, told.attempt, told.output, e.VIA_COMPLETION))
        _advance(story)


def _note_late_completion(story: _Story, told: i.NoteLateCompletion) -> None:
    """Keep the first completion of an attempt that came too late: the world may have changed."""
    item = story.operation.item(told.instance)
    if isinstance(item, StepItem) and told.attempt <= item.attempt and item.completion(told.attempt) is None:
        code, via = told.code or "DONE", e.VIA_COMPLETION
        story.add(
            e.StepReportIgnored(story.now, told.by, told.instance, told.attempt, code, told.output, told.error, via)
        )


def _stalled(story: _Story, name: str, expected_revision: int | None) -> StepItem:
    operation = _open(story, expected_revision)
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


# -- checkpoints -------------------------------------------------------------------------------------------------------


def _pending(story: _Story, name: str) -> CheckpointItem:
    item = story.operation.checkpoint(name)
    if item is None:
        if story.operation.step(name) is not None:
            raise Rejected(Ground.PRECONDITION, "NOT_A_CHECKPOINT", f"{name} is a step: nobody decides it")
        raise Rejected(Ground.UNKNOWN, "CHECKPOINT_UNKNOWN", f"the operation has no checkpoint {name}")
    if item.decided_by is not None:
        raise Rejected(
            Ground.PRECONDITION,
            "ALREADY_DECIDED",
            f"{name} was {item.state.value} by {item.decided_by.id} before",
            state=item.state.value,
            decided_by=item.decided_by.id,
            decided_at_us=str(item.since),
        )
    _open(story, None)
    if item.state is not CheckpointState.PENDING:
        raise Rejected(
            Ground.PRECONDITION,
            "CHECKPOINT_NOT_PENDING",
            f"{name} is {item.state.value}: the operation has not come to it",
            state=item.state.value,
        )
    return item


def _decided(story: _Story, told: i.Decide) -> None:
    item = _pending(story, told.checkpoint)
    may_decide(story.operation, item, told.by)
    if told.seen is not None and told.seen != item.digest:
        raise Rejected(
            Ground.PRECONDITION,
            "STALE_DIGEST",
            f"what you were shown is not what {told.checkpoint} is about now; look again",
            digest=item.digest or "",
        )
    if told.is_approval:
        story.add(e.CheckpointApproved(story.now, told.by, item.instance, told.seen, told.comment))
        _advance(story)
    else:
        story.add(e.CheckpointRejected(story.now, told.by, item.instance, told.seen, told.comment))
        story.add(e.OperationRejected(story.now, DAEMON, item.instance))


def _note_refusal(story: _Story, told: i.NoteRefusal) -> None:
    item = story.operation.checkpoint(told.checkpoint)
    if item is None or story.operation.is_final:
        return
    for person, code, at in item.refusals:
        if person == told.by.id and code == told.code and story.now - at < REFUSALS_GATHERED_US:
            return
    story.add(e.DecisionRefused(story.now, told.by, item.instance, told.code))


def _handed(story: _Story, told: i.Claim | i.Release | i.Assign) -> None:
    item = _pending(story, told.checkpoint)
    match told:
        case i.Claim():
            may_decide(story.operation, item, told.by)
            if item.claimed_by != told.by.id:
                story.add(e.CheckpointClaimed(story.now, told.by, item.instance, told.reason))
        case i.Release():
            if item.claimed_by != told.by.id:
                holder = f"{item.claimed_by} holds it" if item.claimed_by else "nobody holds it"
                raise Rejected(Ground.PRECONDITION, "NOT_CLAIMED_BY_CALLER", f"you have not claimed it: {holder}")
            story.add(e.CheckpointReleased(story.now, told.by, item.instance, told.reason))
        case i.Assign():
            may_hold(story.operation, item, told.assignee)
            person = told.assignee.id
            story.add(e.CheckpointAssigned(story.now, told.by, item.instance, person, told.reason))
        case _:
            assert_never(told)


def _nobody_entitled(story: _Story, told: i.NobodyEntitled) -> None:
    item = story.operation.current
    if not isinstance(item, CheckpointItem) or item.instance != told.instance or item.is_unattended:
        return
    due_at = item.since + item.definition.unattended_ms * 1000
    if item.state is CheckpointState.PENDING and due_at <= story.now and not story.operation.is_final:
        late_ms = (story.now - due_at) // 1000
        story.add(e.Unattended(story.now, told.by, item.instance, due_at, late_ms))


# -- pause and resume --------------------------------------------------------------------------------------------------


def _pause(story: _Story, told: i.Pause) -> None:
    operation = _open(story, told.expected_revision)
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


def _resume(story: _Story, told: i.Resume) -> None:
    operation = _open(story, told.expected_revision)
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
    _advance(story)


# -- clocks ------------------------------------------------------------------------------------------------------------


def _settle_clocks(story: _Story) -> None:
    """Let everything happen that is due by now."""
    while (due := next_to_settle(story.operation, story.now)) is not None:
        _happen(story, due)


def _happen(story: _Story, due: Due) -> None:
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
            _fail(story, item, DAEMON, "TIMEOUT")
        case Alarm.RETRY:
            story.add(e.StepQueued(now, DAEMON, due.instance))
        case Alarm.UNATTENDED:
            story.add(e.Unattended(now, DAEMON, due.instance, due.at, late_ms))
        case _:
            assert_never(due.alarm)
