"""Pause and resume: what stands still, what goes on, and that the ledger of every clock adds up."""

import pytest

from hmsactd.core import events as e
from hmsactd.core.events import ClockReading
from tests.core.dialogue import JDAVIS, OPERATOR, begun, checkpoint, kinds, rejected, step


def test_nothing_new_starts_while_the_operation_is_paused() -> None:
    talk = begun(step("a"), step("b"))
    assert talk.pause() == ["operation_paused by=operator clock=run"]
    assert talk.standing() == "paused, a queued"
    assert talk.take("a") == []
    assert talk.outstanding() == []
    assert talk.at("1h").wake() == []


def test_a_resumed_step_is_offered_again() -> None:
    talk = begun(step("a"))
    talk.pause()
    talk.at("1h")
    assert talk.resume() == ["operation_resumed by=operator"]
    assert talk.standing() == "running, a queued"
    assert kinds(talk.do("a")) == ["step_started", "step_done", "operation_completed"]


def test_a_pause_is_no_wait_for_a_worker() -> None:
    talk = begun(step("a"))
    talk.at("10m").pause()
    talk.at("1h").resume()
    assert talk.outstanding() == ["RunStep a attempt=1 svc=Svc queued_at=+1h", "WakeAt at=+1h15m"]


def test_a_wait_that_was_said_to_be_unattended_is_not_said_again_after_a_pause() -> None:
    talk = begun(step("a"))
    talk.at("15m").wake()
    talk.pause()
    talk.at("1h").resume()
    assert talk.at("2h").wake() == []


def test_a_running_attempt_may_finish_and_the_next_step_waits() -> None:
    talk = begun(step("a"), step("b"))
    talk.take("a")
    talk.pause()
    assert talk.outstanding() == ["AwaitReport a attempt=1 svc=Svc session=Svc-1"]
    assert kinds(talk.finish("a")) == ["step_done"]
    assert talk.standing() == "paused, b ahead"
    assert talk.outstanding() == []
    assert kinds(talk.resume()) == ["operation_resumed"]
    assert talk.standing() == "running, b queued"


def test_a_running_attempt_may_be_resumed_under_way() -> None:
    talk = begun(step("a"))
    talk.take("a")
    talk.pause()
    assert talk.resume() == ["operation_resumed by=operator"]
    assert talk.standing() == "running, a running"


def test_the_last_step_may_finish_while_paused_and_resuming_completes() -> None:
    talk = begun(step("a"))
    talk.take("a")
    talk.pause()
    assert kinds(talk.finish("a")) == ["step_done"]
    assert talk.standing() == "paused"
    assert kinds(talk.resume()) == ["operation_resumed", "operation_completed"]


def test_a_checkpoint_is_decided_while_paused_and_nothing_follows_yet() -> None:
    talk = begun(checkpoint("first"), checkpoint("second"))
    talk.pause()
    assert talk.outstanding() == ["AwaitDecision first role=fsa.officer"]
    assert kinds(talk.approve(JDAVIS, "first")) == ["checkpoint_approved"]
    with rejected("CHECKPOINT_NOT_PENDING"):
        talk.approve(JDAVIS, "second")
    assert kinds(talk.resume()) == ["operation_resumed", "checkpoint_pending"]


def test_a_rejection_while_paused_ends_the_operation() -> None:
    talk = begun(checkpoint("review"))
    talk.pause()
    assert kinds(talk.reject(JDAVIS, "review")) == ["checkpoint_rejected", "operation_rejected"]
    assert talk.operation.pause is None


def test_a_permanent_failure_while_paused_ends_the_operation() -> None:
    talk = begun(step("a"))
    talk.take("a")
    talk.pause()
    assert kinds(talk.fail("a", permanently=True)) == ["step_failed", "operation_failed"]


def test_a_retry_that_comes_due_while_paused_starts_when_resumed() -> None:
    talk = begun(step("a"))
    talk.take("a")
    talk.fail("a")
    talk.pause()
    assert talk.at("1m").wake() == []
    assert talk.outstanding() == []
    assert kinds(talk.resume()) == ["operation_resumed", "step_queued"]


def test_a_retry_that_is_not_yet_due_waits_on_after_resuming() -> None:
    talk = begun(step("a"))
    talk.take("a")
    talk.fail("a", wish="1m")
    talk.pause()
    talk.at("30s").resume()
    assert talk.standing() == "waiting, a retrying, 1 failed"
    assert talk.outstanding() == ["WakeAt at=+1m"]


def test_a_timeout_does_not_stop_for_a_pause() -> None:
    talk = begun(step("a", timeout="30s"))
    talk.take("a")
    talk.pause()
    assert talk.outstanding()[-1] == "WakeAt at=+30s"
    assert kinds(talk.at("30s").wake()) == ["step_failed"]


def test_resuming_a_stalled_operation_leaves_it_stalled() -> None:
    talk = begun(step("a", retries=0), step("b"))
    talk.stall("a")
    talk.pause()
    assert talk.state == "paused"
    assert talk.resume() == ["operation_resumed by=operator"]
    assert talk.standing() == "stalled, a stalled, 1 failed"


def test_a_step_that_stalls_while_paused_is_stalled_when_resumed() -> None:
    talk = begun(step("a", retries=0))
    talk.take("a")
    talk.pause()
    assert kinds(talk.fail("a")) == ["step_failed", "step_stalled"]
    assert talk.state == "paused"
    talk.resume()
    assert talk.state == "stalled"


def test_what_an_operator_does_about_a_stalled_step_while_paused_waits_too() -> None:
    retried, skipped = (begun(step("a", retries=0), step("b")) for _ in range(2))
    for talk in (retried, skipped):
        talk.stall("a")
        talk.pause()
    assert kinds(retried.retry("a")) == ["step_retried"]
    assert retried.standing() == "paused, a queued"
    assert kinds(skipped.skip("a")) == ["step_skipped"]
    assert skipped.standing() == "paused, b ahead"
    for talk in (retried, skipped):
        assert talk.outstanding() == []
        assert kinds(talk.resume()) == ["operation_resumed"]
    assert (retried.standing(), skipped.standing()) == ("running, a queued", "running, b queued")


def test_an_operation_is_paused_once_and_resumed_once() -> None:
    talk = begun(step("a"))
    with rejected("OPERATION_NOT_PAUSED"):
        talk.resume()
    talk.pause(JDAVIS)
    with rejected("OPERATION_PAUSED") as caught:
        talk.pause(OPERATOR)
    assert "dev:jdavis" in caught.value.sentence


# -- the ledger --------------------------------------------------------------------------------------------------------


def test_the_clock_of_the_step_stops_and_that_of_the_operation_runs_on() -> None:
    talk = begun(step("a", sla="1h"), sla="2h")
    assert talk.at("10m").pause() == ["operation_paused by=operator clock=run clocks=a:10m/1h"]
    assert talk.at("30m").standing() == "paused (30m of 2h), a queued (10m stopped of 1h)"
    assert talk.resume() == ["operation_resumed by=operator clocks=a:10m/1h"]
    assert talk.at("40m").standing() == "running (40m of 2h), a queued (20m of 1h)"


def test_a_pause_may_stop_the_clock_of_the_operation_as_well() -> None:
    talk = begun(step("a", sla="1h"), sla="2h")
    talk.at("10m")
    assert talk.pause(stop_clock=True) == ["operation_paused by=operator clock=stop clocks=(operation):10m/2h,a:10m/1h"]
    talk.at("3h")
    assert talk.wake() == []
    assert talk.resume() == ["operation_resumed by=operator clocks=(operation):10m/2h,a:10m/1h"]
    assert talk.at("3h20m").standing() == "running (30m of 2h), a queued (30m of 1h)"


def test_stopping_a_clock_that_is_not_there_is_no_fault() -> None:
    talk = begun(step("a"))
    assert talk.pause(stop_clock=True) == ["operation_paused by=operator clock=stop"]
    assert talk.resume() == ["operation_resumed by=operator"]


def test_the_clock_of_a_running_attempt_stops_when_the_attempt_ends() -> None:
    talk = begun(step("a", sla="1h"))
    talk.take("a")
    assert talk.at("10m").pause() == ["operation_paused by=operator clock=run"]
    (failed,) = talk.at("15m").fail("a")
    assert failed.endswith("clocks=a:15m/1h")
    assert talk.at("30m").standing() == "paused, a retrying (15m stopped of 1h), 1 failed"
    assert talk.resume()[0] == "operation_resumed by=operator clocks=a:15m/1h"


def test_the_clock_of_a_lost_attempt_stops_too() -> None:
    talk = begun(step("a", sla="1h"))
    talk.take("a")
    talk.pause()
    assert talk.at("5m").lose("a") == ["step_lost a attempt=1 count=1 clocks=a:5m/1h"]
    assert talk.at("9m").standing() == "paused, a queued (5m stopped of 1h), 1 lost"


def test_the_clock_of_a_step_that_stalls_while_paused_stops_once() -> None:
    talk = begun(step("a", sla="1h", retries=0))
    talk.take("a")
    talk.pause()
    failed, stalled = talk.at("5m").fail("a")
    assert failed.endswith("clocks=a:5m/1h")
    assert stalled == "step_stalled a code=BUSY"
    assert talk.at("9m").standing() == "paused, a stalled (5m stopped of 1h), 1 failed"


def test_a_step_that_is_done_while_paused_has_used_its_time_to_the_end() -> None:
    talk = begun(step("a", sla="1h"), step("b", sla="1h"))
    talk.take("a")
    talk.at("1m").pause()
    talk.at("3m").finish("a")
    clock = talk.step("a").clock
    assert clock is not None
    assert (clock.used_us, clock.running_since) == (180_000_000, None)
    talk.at("1h").resume()
    assert talk.standing() == "running, b queued (0s of 1h)"


def test_a_breach_is_said_once_whatever_pauses_there_are() -> None:
    talk = begun(step("a", sla="10m"))
    talk.at("8m").pause()
    talk.at("1h").resume()
    assert kinds(talk.at("1h1m").wake()) == []
    assert kinds(talk.at("1h2m").wake()) == ["sla_breach"]
    talk.pause()
    talk.at("2h").resume()
    assert kinds(talk.at("3h").wake()) == ["unattended"]


@pytest.mark.parametrize("stop_clock", [False, True])
def test_budget_is_used_and_remaining_at_every_stop_and_start(stop_clock: bool) -> None:
    talk = begun(step("a", sla="10m", retries=9), sla="1h")
    used_s = 0
    for round_s in (7, 11, 13, 17):
        talk.wait(f"{round_s}s").pause(stop_clock=stop_clock)
        used_s += round_s
        assert reading(talk.events[-1]) == ClockReading(1, 600_000, used_s * 1000)
        talk.wait("5m").resume()
        assert reading(talk.events[-1]) == ClockReading(1, 600_000, used_s * 1000)
    for event in talk.events:
        for told in getattr(event, "clocks", ()):
            assert told.used_ms + told.remaining_ms == told.budget_ms


def reading(event: e.Event) -> ClockReading:
    """The reading of the step's clock."""
    assert isinstance(event, e.OperationPaused | e.OperationResumed)
    return event.clocks[-1]
