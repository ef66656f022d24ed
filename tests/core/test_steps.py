"""Steps: attempts, their reports, retries, lost workers, what an operator can do when a step is stalled."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from hmsactd.core import events as e
from hmsactd.core.effects import RunStep
from hmsactd.core.inputs import StepErred, StepSucceeded, StepTaken
from hmsactd.core.outstanding import step_to_run
from hmsactd.core.principal import Principal, PrincipalKind
from hmsactd.core.retry import retry_delay_ms
from tests.core.dialogue import (
    CASEBOT,
    CITIZEN,
    DESK,
    DEVELOPER,
    JDAVIS,
    OPERATOR,
    Dialogue,
    begun,
    checkpoint,
    kinds,
    payload,
    person,
    rejected,
    service,
    step,
)


def test_the_first_step_is_queued_by_the_start() -> None:
    talk = begun(step("pay", "Treasury"), step("notify"))
    assert talk.standing() == "running, pay queued"
    assert talk.outstanding() == ["RunStep pay attempt=1 svc=Treasury queued_at=+0s", "WakeAt at=+15m"]


def test_a_step_that_is_taken_waits_for_its_report() -> None:
    talk = begun(step("pay", "Treasury"))
    assert talk.take("pay", session="s1") == ["step_started pay by=svc/Treasury attempt=1 session=s1"]
    assert talk.outstanding() == ["AwaitReport pay attempt=1 svc=Treasury session=s1"]
    assert talk.step("pay").worker == "dev:svc/Treasury"


def test_steps_follow_one_another_and_the_last_completes_the_operation() -> None:
    talk = begun(step("a"), step("b"))
    assert kinds(talk.do("a")) == ["step_started", "step_done"]
    assert talk.standing() == "running, b queued"
    assert kinds(talk.do("b")) == ["step_started", "step_done", "operation_completed"]
    assert talk.standing() == "completed"
    assert talk.outstanding() == []


def test_an_output_is_known_by_its_commitment_and_its_place_on_the_timeline() -> None:
    talk = begun(step("a"), step("b"))
    talk.do("a")
    item = talk.step("a")
    assert item.output_commitment == "output-a-1"
    assert isinstance(talk.events[item.output_sequence - 1], e.StepDone)


def test_only_a_queued_step_is_to_be_run() -> None:
    talk = begun(step("a"), checkpoint("review"))
    assert step_to_run(talk.operation) == RunStep(1, 1, "Svc", "a", talk.now)
    talk.take("a")
    assert step_to_run(talk.operation) is None
    talk.finish("a")
    assert step_to_run(talk.operation) is None


def test_a_queued_step_is_not_to_be_run_while_paused_or_after_the_end() -> None:
    talk = begun(step("a"))
    talk.pause()
    assert step_to_run(talk.operation) is None
    talk.cancel()
    assert step_to_run(talk.operation) is None


@pytest.mark.parametrize(("attempt", "name"), [(0, "a"), (2, "a"), (1, "b"), (1, "review")])
def test_only_the_next_attempt_of_the_current_step_can_be_taken(attempt: int, name: str) -> None:
    talk = begun(step("a"), step("b"), checkpoint("review"))
    assert talk.hear(StepTaken(service("Svc"), talk.instance(name), attempt, "s")) == []


def test_an_attempt_is_given_to_one_worker_only() -> None:
    talk = begun(step("a"))
    talk.take("a", session="s1")
    assert talk.take("a", attempt=1, session="s2") == []
    assert talk.take("a", attempt=2, session="s2") == []
    assert talk.step("a").session == "s1"


def test_only_whoever_was_given_an_attempt_reports_on_it() -> None:
    talk = begun(step("a"))
    talk.take("a")
    with rejected("NOT_THE_HOLDER"):
        talk.hear(StepSucceeded(service("Other"), 1, 1, payload("p")))
    with rejected("NOT_THE_HOLDER"):
        talk.hear(StepErred(service("Other"), 1, 1, "BUSY"))
    talk.cancel()
    with rejected("NOT_THE_HOLDER"):
        talk.hear(StepSucceeded(service("Other"), 1, 1, payload("p")))
    assert kinds(talk.finish("a")) == ["step_report_ignored"]


# -- reports that are stale --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("attempt", [0, 2, 7])
def test_the_report_of_an_attempt_that_is_not_under_way_changes_nothing(attempt: int) -> None:
    talk = begun(step("a"))
    talk.take("a")
    assert talk.finish("a", attempt=attempt) == []
    assert talk.fail("a", attempt=attempt) == []
    assert talk.lose("a", attempt=attempt) == []
    assert talk.miss_heartbeat("a", attempt=attempt) == []
    assert talk.standing() == "running, a running"


def test_a_report_is_recorded_once() -> None:
    talk = begun(step("a"), step("b"))
    talk.do("a")
    assert talk.finish("a") == []
    assert talk.fail("a") == []
    assert talk.lose("a") == []


def test_the_report_of_an_earlier_attempt_is_stale_while_a_later_one_is_under_way() -> None:
    talk = begun(step("a"))
    talk.take("a")
    talk.lose("a")
    talk.take("a")
    assert talk.finish("a", attempt=1) == []
    assert kinds(talk.finish("a", attempt=2)) == ["step_done", "operation_completed"]


def test_reports_for_what_is_no_step_change_nothing() -> None:
    talk = begun(checkpoint("review"), step("a"))
    for instance in (0, 1, 2, 3, -1):
        assert talk.hear(StepSucceeded(service("Svc"), instance, 1, payload("p"))) == []


# -- retries -----------------------------------------------------------------------------------------------------------


def test_a_failed_attempt_is_followed_by_another_after_a_delay() -> None:
    talk = begun(step("a", retries=2))
    talk.take("a")
    (failed,) = talk.fail("a", "BAD_GATEWAY")
    assert failed.startswith("step_failed a by=svc/Svc attempt=1 code=BAD_GATEWAY retries=2 retry=1 retry_at=+")
    assert talk.standing() == "waiting, a retrying, 1 failed"
    retry_at = talk.step("a").retry_at
    assert retry_at is not None
    talk.now = retry_at - 1
    assert talk.wake() == []
    talk.now = retry_at
    assert talk.wake() == ["step_queued a"]
    assert talk.standing() == "running, a queued, 1 failed"
    assert talk.outstanding()[0].startswith("RunStep a attempt=2")


def test_three_retries_are_three_more_attempts_and_then_the_step_is_stalled() -> None:
    talk = begun(step("a", retries=3))
    answer = talk.stall("a")
    assert kinds(answer).count("step_started") == 4
    assert kinds(answer)[-2:] == ["step_failed", "step_stalled"]
    assert talk.events[-1] == e.StepStalled(talk.now, talk.events[-1].by, 1, "BUSY")
    assert talk.standing() == "stalled, a stalled, 4 failed"
    assert talk.outstanding() == []


def test_without_retries_the_first_failure_stalls() -> None:
    talk = begun(step("a", retries=0))
    talk.take("a")
    assert kinds(talk.fail("a")) == ["step_failed", "step_stalled"]


def test_a_definition_may_want_the_operation_to_fail_instead() -> None:
    talk = begun(step("a", retries=1, on_exhausted="fail"), step("b"))
    assert kinds(talk.stall("a"))[-2:] == ["step_failed", "operation_failed"]
    assert talk.standing() == "failed, a failed, 2 failed"
    assert talk.events[-1] == e.OperationFailed(talk.now, talk.events[-1].by, 1, "BUSY")


def test_a_permanent_failure_ends_the_operation_whatever_retries_are_left() -> None:
    talk = begun(step("a", retries=3, on_exhausted="stall"))
    talk.take("a")
    assert talk.fail("a", "UNKNOWN_PERSON", permanently=True) == [
        "step_failed a by=svc/Svc attempt=1 code=UNKNOWN_PERSON retries=3 error=error",
        "operation_failed a code=UNKNOWN_PERSON",
    ]
    assert talk.state == "failed"


def test_a_service_is_not_called_earlier_than_it_wishes() -> None:
    talk = begun(step("a"))
    talk.take("a")
    talk.fail("a", wish="1m")
    assert "WakeAt at=+1m" in talk.outstanding()


def test_a_service_can_wish_for_no_more_than_the_cap() -> None:
    talk = begun(step("a", retry_delay_max="30s"))
    talk.take("a")
    talk.fail("a", wish="1d")
    assert "WakeAt at=+30s" in talk.outstanding()


@pytest.mark.parametrize(("retry", "middle_ms"), [(1, 2_000), (2, 4_000), (3, 8_000), (8, 256_000), (9, 300_000)])
def test_delays_double_up_to_the_cap_give_or_take_a_tenth(retry: int, middle_ms: int) -> None:
    delays = {retry_delay_ms(step("a"), retry, f"seed-{n}") for n in range(500)}
    assert middle_ms * 0.9 <= min(delays) < middle_ms * 0.92
    assert middle_ms * 1.08 < max(delays) <= middle_ms * 1.1


def test_the_hundredth_retry_comes_after_the_cap_too() -> None:
    assert 270_000 <= retry_delay_ms(step("a", retries=100), 100, "seed") <= 330_000


def test_the_same_history_gives_the_same_delay_and_other_operations_another() -> None:
    assert retry_delay_ms(step("a"), 1, "x") == retry_delay_ms(step("a"), 1, "x")
    assert len({retry_delay_ms(step("a"), 1, str(n)) for n in range(20)}) > 10


# -- time limits of an attempt -----------------------------------------------------------------------------------------


def test_an_attempt_that_takes_too_long_counts_as_failed() -> None:
    talk = begun(step("a", timeout="30s", retries=1))
    talk.wait("5s").take("a")
    assert "WakeAt at=+35s" in talk.outstanding()
    talk.at("35s")
    (failed,) = talk.wake()
    assert failed.startswith("step_failed a attempt=1 code=TIMEOUT retries=1 retry=1")


def test_a_report_that_comes_with_the_timeout_is_late() -> None:
    talk = begun(step("a", timeout="30s", retries=0))
    talk.take("a")
    talk.at("30s")
    assert kinds(talk.finish("a")) == ["step_failed", "step_stalled"]
    assert talk.state == "stalled"


def test_each_attempt_has_the_whole_time() -> None:
    talk = begun(step("a", timeout="30s"))
    talk.take("a")
    talk.wait("20s").lose("a")
    talk.wait("5s").take("a")
    assert "WakeAt at=+55s" in talk.outstanding()


def test_a_missed_heartbeat_counts_as_a_failure() -> None:
    talk = begun(step("a", retries=1))
    talk.take("a")
    (failed,) = talk.miss_heartbeat("a")
    assert failed.startswith("step_failed a attempt=1 code=HEARTBEAT_TIMEOUT retries=1 retry=1")


# -- lost workers ------------------------------------------------------------------------------------------------------


def test_a_lost_worker_costs_no_retry_and_makes_a_new_attempt() -> None:
    talk = begun(step("a", retries=0))
    talk.take("a")
    assert talk.lose("a") == ["step_lost a attempt=1 count=1"]
    assert talk.standing() == "running, a queued, 1 lost"
    assert talk.outstanding()[0].startswith("RunStep a attempt=2")


def test_the_third_lost_worker_counts_as_a_failure() -> None:
    talk = begun(step("a", retries=1))
    for _ in range(2):
        talk.take("a")
        assert kinds(talk.lose("a")) == ["step_lost"]
    talk.take("a")
    (failed,) = talk.lose("a")
    assert failed.startswith("step_failed a attempt=3 code=WORKER_LOST retries=1 retry=1")
    assert talk.standing() == "waiting, a retrying, 1 failed"


def test_losses_are_counted_anew_after_a_failure() -> None:
    talk = begun(step("a", retries=1))
    for _ in range(2):
        talk.take("a")
        talk.lose("a")
    talk.take("a")
    talk.fail("a")
    talk.wait("1m").take("a")
    assert talk.lose("a") == ["step_lost a attempt=4 count=1"]


def test_three_losses_without_retries_stall_the_step() -> None:
    talk = begun(step("a", retries=0))
    for _ in range(2):
        talk.take("a")
        talk.lose("a")
    talk.take("a")
    assert kinds(talk.lose("a")) == ["step_failed", "step_stalled"]


# -- stalled -----------------------------------------------------------------------------------------------------------


def stalled(*, by: Principal = CITIZEN) -> Dialogue:
    talk = begun(step("a", retries=1), step("b"), by=by)
    talk.stall("a")
    return talk


def test_an_operator_gives_a_stalled_step_fresh_retries_and_attempts_go_on() -> None:
    talk = stalled()
    assert talk.retry("a") == ["step_retried a by=operator"]
    assert talk.standing() == "running, a queued"
    assert talk.outstanding()[0].startswith("RunStep a attempt=3")
    answer = talk.stall("a")
    assert kinds(answer).count("step_started") == 2
    assert talk.state == "stalled"


def test_whoever_started_the_operation_may_retry() -> None:
    assert stalled().retry("a", CITIZEN) == ["step_retried a by=citizen"]


def test_losses_are_counted_anew_after_a_retry_by_an_operator() -> None:
    talk = begun(step("a", retries=0))
    talk.take("a")
    talk.lose("a")
    talk.take("a")
    talk.fail("a")
    talk.retry("a")
    talk.take("a")
    assert talk.lose("a") == ["step_lost a attempt=3 count=1"]


def test_an_operator_skips_a_stalled_step_and_the_flow_goes_on() -> None:
    talk = stalled()
    assert talk.skip("a") == ["step_skipped a by=operator"]
    assert talk.standing() == "running, b queued"
    assert talk.step("a").output_commitment is None
    assert kinds(talk.do("b"))[-1] == "operation_completed"


def test_skipping_the_last_step_completes_the_operation() -> None:
    talk = begun(step("a", retries=0))
    talk.stall("a")
    assert kinds(talk.skip("a")) == ["step_skipped", "operation_completed"]


def test_after_a_skipped_step_a_checkpoint_asks() -> None:
    talk = begun(step("a", retries=0), checkpoint("review"))
    talk.stall("a")
    assert kinds(talk.skip("a")) == ["step_skipped", "checkpoint_pending"]


SAME_PERSON = person("citizen", "*")
OWN_AGENT = Principal(PrincipalKind.AGENT, "dev", "helper", responsible=CITIZEN.id)
PORTAL = service("Portal")


@pytest.mark.parametrize(
    ("starter", "skipper"),
    [(CITIZEN, SAME_PERSON), (CITIZEN, OWN_AGENT), (OWN_AGENT, CITIZEN), (CASEBOT, DEVELOPER), (PORTAL, PORTAL)],
    ids=["itself", "its agent", "who answers for the agent", "who answers for another", "the same service"],
)
def test_whoever_started_the_operation_may_not_skip(starter: Principal, skipper: Principal) -> None:
    talk = stalled(by=starter)
    with rejected("STARTED_BY_CALLER"):
        talk.skip("a", skipper)


HELPER_FOR_CITIZEN = Principal(PrincipalKind.SERVICE, "dev", "svc/helper", on_behalf_of=CITIZEN.id)


@pytest.mark.parametrize(
    ("starter", "skipper", "code"),
    [
        (DESK, JDAVIS, "STARTED_FOR_CALLER"),
        (DESK, replace(HELPER_FOR_CITIZEN, on_behalf_of=JDAVIS.id), "STARTED_FOR_CALLER"),
        (DESK, DESK, "STARTED_BY_CALLER"),
        (CITIZEN, HELPER_FOR_CITIZEN, "STARTED_BY_CALLER"),
        (HELPER_FOR_CITIZEN, OWN_AGENT, "STARTED_FOR_CALLER"),
    ],
)
def test_nobody_skips_what_was_started_for_them_nor_by_means_of_another(
    starter: Principal, skipper: Principal, code: str
) -> None:
    talk = stalled(by=starter)
    with rejected(code):
        talk.skip("a", skipper)


@pytest.mark.parametrize(
    ("starter", "skipper"),
    [(CITIZEN, OPERATOR), (CITIZEN, PORTAL), (PORTAL, OPERATOR), (PORTAL, service("Other")), (CASEBOT, CITIZEN)],
)
def test_anybody_else_may_skip(starter: Principal, skipper: Principal) -> None:
    assert kinds(stalled(by=starter).skip("a", skipper)) == ["step_skipped"]


@pytest.mark.parametrize("telling", [Dialogue.retry, Dialogue.skip])
def test_only_a_stalled_step_is_retried_or_skipped(telling: Callable[[Dialogue, str], list[str]]) -> None:
    talk = begun(step("a"), step("b"), checkpoint("review"))
    for _ in range(3):
        with rejected("STEP_NOT_STALLED"):
            telling(talk, "a")
        talk.take("a") or talk.finish("a")
    with rejected("STEP_NOT_STALLED"):
        telling(talk, "b")
    with rejected("NOT_A_STEP"):
        telling(talk, "review")
    with rejected("STEP_UNKNOWN"):
        telling(talk, "nowhere")
