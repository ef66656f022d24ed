"""The end of an operation: cancel, late reports, and that nothing goes on."""

from dataclasses import replace

import pytest

from hmsactd.core import events as e
from hmsactd.core.apply import apply
from hmsactd.core.inputs import Cancel, Pause, Resume, RetryStep, SkipStep
from hmsactd.core.rejected import Ground
from tests.core.dialogue import (
    CITIZEN,
    JDAVIS,
    OPERATOR,
    Dialogue,
    begun,
    checkpoint,
    kinds,
    payload,
    rejected,
    step,
)


def at_work() -> Dialogue:
    talk = begun(step("pay", "Treasury", sla="1h"), step("notify"), sla="2h")
    talk.take("pay")
    return talk


def test_a_cancel_ends_the_operation_and_lets_go_of_the_worker() -> None:
    talk = at_work()
    talk.at("1m")
    assert talk.cancel() == ["operation_cancelled by=operator from_state=running"]
    assert talk.standing() == "cancelled (1m stopped of 2h), pay running (1m stopped of 1h)"
    assert talk.outstanding() == []


@pytest.mark.parametrize("state", ["running", "waiting", "paused", "stalled"])
def test_every_open_operation_can_be_cancelled(state: str) -> None:
    talk = begun(step("a", retries=0)) if state != "waiting" else begun(checkpoint("review"))
    if state == "paused":
        talk.pause()
    if state == "stalled":
        talk.stall("a")
    assert talk.state == state
    assert talk.cancel() == [f"operation_cancelled by=operator from_state={state}"]


def test_late_report_after_cancel_is_recorded_once_and_changes_nothing() -> None:
    talk = at_work()
    talk.cancel()
    before = talk.step("pay").state
    assert talk.finish("pay") == [
        "step_report_ignored pay by=svc/Treasury attempt=1 code=DONE output=output-pay-1",
    ]
    assert (talk.state, talk.step("pay").state) == ("cancelled", before)
    assert talk.step("pay").output_commitment is None
    assert talk.finish("pay") == []
    assert talk.fail("pay") == []


def test_late_failure_after_cancel_is_recorded_with_its_error() -> None:
    talk = at_work()
    talk.cancel()
    assert talk.fail("pay", "BUSY") == ["step_report_ignored pay by=svc/Treasury attempt=1 code=BUSY error=error"]


def test_the_loss_of_a_worker_after_the_end_is_not_news() -> None:
    talk = at_work()
    talk.cancel()
    assert talk.lose("pay") == []
    assert talk.miss_heartbeat("pay") == []


@pytest.mark.parametrize("attempt", [0, 1, 3])
def test_a_late_report_of_an_earlier_attempt_is_not_kept(attempt: int) -> None:
    talk = at_work()
    talk.lose("pay")
    talk.take("pay")
    talk.cancel()
    assert talk.finish("pay", attempt=attempt) == []
    assert kinds(talk.finish("pay", attempt=2)) == ["step_report_ignored"]


def test_a_report_for_a_step_that_had_ended_before_the_cancel_is_not_kept() -> None:
    talk = begun(step("a"), step("b"), checkpoint("review"))
    talk.do("a")
    talk.cancel()
    assert talk.finish("a") == []
    assert talk.finish("b") == []


Acted = Pause | Resume | Cancel | RetryStep | SkipStep


def test_no_step_is_taken_after_the_end() -> None:
    talk = begun(step("a"))
    talk.cancel()
    assert talk.take("a") == []


FINAL: dict[str, Acted] = {
    "pause": Pause(OPERATOR),
    "resume": Resume(OPERATOR),
    "cancel": Cancel(OPERATOR),
    "retry": RetryStep(OPERATOR, "pay"),
    "skip": SkipStep(OPERATOR, "pay"),
}


@pytest.mark.parametrize("told", FINAL.values(), ids=list(FINAL))
def test_nothing_can_be_done_with_an_operation_that_is_final(told: Acted) -> None:
    talk = at_work()
    talk.cancel()
    with rejected("OPERATION_FINAL") as caught:
        talk.hear(told)
    assert caught.value.ground is Ground.PRECONDITION
    assert caught.value.facts == {"state": "cancelled"}


@pytest.mark.parametrize("told", FINAL.values(), ids=list(FINAL))
def test_nothing_is_done_with_a_flow_that_has_changed_since(told: Acted) -> None:
    talk = at_work()
    with rejected("REVISION_CHANGED") as caught:
        talk.hear(replace(told, expected_revision=2))
    assert caught.value.ground is Ground.CHANGED
    assert caught.value.facts == {"revision": "1"}


def test_whoever_names_the_revision_as_it_is_is_heard() -> None:
    talk = at_work()
    assert kinds(talk.hear(Pause(OPERATOR, expected_revision=1))) == ["operation_paused"]
    assert kinds(talk.hear(Resume(OPERATOR, expected_revision=1))) == ["operation_resumed"]
    assert kinds(talk.hear(Cancel(OPERATOR, expected_revision=1))) == ["operation_cancelled"]


def test_reasons_stay_with_what_was_done() -> None:
    talk = begun(step("a", retries=0), step("b", retries=0))
    reason = payload("because")
    talk.stall("a")
    assert talk.hear(RetryStep(OPERATOR, "a", reason)) == ["step_retried a by=operator reason=because"]
    talk.stall("a")
    assert talk.hear(SkipStep(OPERATOR, "a", reason)) == ["step_skipped a by=operator reason=because"]
    assert talk.hear(Pause(OPERATOR, reason=reason)) == ["operation_paused by=operator clock=run reason=because"]
    assert talk.hear(Resume(OPERATOR, reason)) == ["operation_resumed by=operator reason=because"]
    assert talk.hear(Cancel(OPERATOR, reason)) == ["operation_cancelled by=operator from_state=running reason=because"]


def test_an_operation_starts_once() -> None:
    talk = begun(step("a"))
    with rejected("OPERATION_EXISTS"):
        talk.start(JDAVIS)
    with pytest.raises(AssertionError, match="starts once"):
        apply(talk.operation, talk.events[0])


def test_a_timeline_begins_with_the_start() -> None:
    with pytest.raises(AssertionError, match="begins with operation_started"):
        apply(None, e.OperationCompleted(0, CITIZEN))
