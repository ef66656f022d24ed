"""What becomes of an attempt at a step: a worker takes it, reports on it, fails it, or is lost with it."""

from __future__ import annotations

from hmsactd.core import events as e
from hmsactd.core import inputs as i
from hmsactd.core.operation import StepItem
from hmsactd.core.payload import Payload
from hmsactd.core.principal import DAEMON, Principal
from hmsactd.core.rejected import Ground, Rejected
from hmsactd.core.retry import retry_delay_ms
from hmsactd.core.story import Story, advance
from hmsactd.core.transitions import StepState
from hmsactd.definition.flow import OnExhausted

LOSSES_MAX = 3
"""The third worker lost on the same step counts as a failure: the call may be what kills them."""


def running(story: Story, instance: int, attempt: int) -> StepItem | None:
    """The step, if this very attempt of it is under way in an open operation."""
    item = story.operation.item(instance)
    if story.operation.is_final or not isinstance(item, StepItem):
        return None
    return item if item.state is StepState.RUNNING and item.attempt == attempt else None


def in_hand(story: Story, instance: int, attempt: int) -> StepItem | None:
    """The step, if this very attempt of it is with a worker: one that was deferred is with nobody."""
    item = running(story, instance, attempt)
    return item if item is not None and item.deferred_at is None else None


def check_holder(item: StepItem, by: Principal) -> None:
    """Only whoever was given an attempt reports on it."""
    if item.worker != by.id:
        raise Rejected(
            Ground.PERMISSION, "NOT_THE_HOLDER", f"{item.definition.name} is with {item.worker}, not with {by.id}"
        )


def taken(story: Story, told: i.StepTaken) -> None:
    """A worker takes the step that the operation is at; news of any other place is stale."""
    item = story.operation.current
    if story.operation.is_final or story.operation.pause is not None or not isinstance(item, StepItem):
        return
    if item.instance == told.instance and item.state is StepState.QUEUED and item.attempt + 1 == told.attempt:
        story.add(e.StepStarted(story.now, told.by, told.instance, told.attempt, told.session))


def succeeded(story: Story, told: i.StepSucceeded) -> None:
    """The attempt is done, if it is with whoever says so."""
    item = in_hand(story, told.instance, told.attempt)
    if item is not None:
        check_holder(item, told.by)
        story.add(e.StepDone(story.now, told.by, told.instance, told.attempt, told.output))
        advance(story)
    else:
        _note_late_report(story, told.by, told.instance, told.attempt, "DONE", output=told.output)


def erred(story: Story, told: i.StepErred) -> None:
    """The attempt has failed, if it is with whoever says so."""
    item = in_hand(story, told.instance, told.attempt)
    if item is not None:
        check_holder(item, told.by)
        fail(story, item, told.by, told.code, told.error, told.is_permanent, told.retry_after_ms)
    else:
        _note_late_report(story, told.by, told.instance, told.attempt, told.code, error=told.error)


def _note_late_report(
    story: Story,
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
        check_holder(item, by)
        story.add(e.StepReportIgnored(story.now, by, instance, attempt, code, output, error))


def lost(story: Story, told: i.WorkerLost) -> None:
    """The attempt went with its worker: the step is queued again, until that has happened too often."""
    item = in_hand(story, told.instance, told.attempt)
    if item is None:
        return
    if item.losses + 1 >= LOSSES_MAX:
        fail(story, item, told.by, "WORKER_LOST")
    else:
        clocks = _frozen_clock(story, item)
        story.add(e.StepLost(story.now, told.by, told.instance, told.attempt, item.losses + 1, clocks))


def fail(
    story: Story,
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


def _frozen_clock(story: Story, item: StepItem) -> tuple[e.ClockReading, ...]:
    """The reading of a clock that stops because the attempt ends while the operation is paused."""
    if story.operation.pause is None or item.clock is None:
        return ()
    return (item.clock.read(item.instance, story.now),)
