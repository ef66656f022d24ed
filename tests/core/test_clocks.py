"""Clocks: SLAs at risk and breached, what is due first, waits without a worker, time that jumps or runs backwards."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from hmsactd.core.clock import SlaClock
from hmsactd.core.due import next_due
from hmsactd.core.inputs import Start, TimerDue
from hmsactd.core.principal import DAEMON
from tests.core.dialogue import CITIZEN, EPOCH, JDAVIS, Dialogue, begun, checkpoint, flow_of, kinds, payload, step

# -- at risk, then breached --------------------------------------------------------------------------------------------


def test_an_sla_is_at_risk_at_four_fifths_and_breached_at_the_end_each_once() -> None:
    talk = begun(step("a", sla="100s"))
    assert "WakeAt at=+1m20s" in talk.outstanding()
    assert talk.at("79s").wake() == []
    assert talk.at("80s").wake() == ["sla_at_risk a sla_ms=1m40s due_at=+1m20s"]
    assert "WakeAt at=+1m40s" in talk.outstanding()
    assert talk.at("99s").wake() == []
    assert talk.at("103s").wake() == ["sla_breach a sla_ms=1m40s due_at=+1m40s late_ms=3s"]
    assert talk.at("10m").wake() == []
    assert talk.state == "running"


def test_both_are_said_when_both_have_passed() -> None:
    talk = begun(step("a", sla="100s"))
    assert talk.at("5m").wake() == [
        "sla_at_risk a sla_ms=1m40s due_at=+1m20s late_ms=3m40s",
        "sla_breach a sla_ms=1m40s due_at=+1m40s late_ms=3m20s",
    ]


def test_a_late_report_cannot_hide_a_breach() -> None:
    talk = begun(step("a", sla="100s"))
    talk.take("a")
    assert kinds(talk.at("100s").finish("a")) == ["sla_at_risk", "sla_breach", "step_done", "operation_completed"]


def test_a_late_decision_cannot_hide_a_breach() -> None:
    talk = begun(checkpoint("review", sla="1h"))
    assert kinds(talk.at("1h").approve(JDAVIS, "review")) == [
        "sla_at_risk",
        "sla_breach",
        "checkpoint_approved",
        "operation_completed",
    ]


def test_a_cancel_cannot_hide_a_breach() -> None:
    talk = begun(step("a", sla="1m"), sla="2m")
    assert kinds(talk.at("10m").cancel()) == [*["sla_at_risk", "sla_breach"] * 2, "operation_cancelled"]


def test_a_report_just_in_time_is_in_time() -> None:
    talk = begun(step("a", sla="100s"))
    talk.take("a")
    talk.at("99s999ms")
    assert kinds(talk.finish("a")) == ["sla_at_risk", "step_done", "operation_completed"]
    assert kinds(talk.at("10m").wake()) == []


def test_the_clock_of_a_step_runs_across_its_retries() -> None:
    talk = begun(step("a", sla="10s", retries=5))
    talk.take("a")
    talk.at("6s").fail("a")
    talk.at("9s")
    assert kinds(talk.wake()) == ["sla_at_risk", "step_queued"]
    talk.take("a")
    talk.at("10s")
    assert kinds(talk.fail("a")) == ["sla_breach", "step_failed"]


def test_stalled_time_counts_and_a_retry_by_an_operator_resets_nothing() -> None:
    talk = begun(step("a", sla="10m", retries=0))
    talk.stall("a")
    talk.at("7m").retry("a")
    assert talk.standing() == "running, a queued (7m of 10m)"
    assert kinds(talk.at("10m").wake()) == ["sla_at_risk", "sla_breach"]


def test_a_step_that_lies_ahead_has_no_clock_and_one_that_is_over_has_a_stopped_one() -> None:
    talk = begun(step("a", sla="1m"), step("b", sla="1m"))
    assert talk.step("b").clock is None
    talk.at("30s").do("a")
    assert talk.step("a").clock == SlaClock(60_000, used_us=30_000_000)
    assert talk.step("b").clock == SlaClock(60_000, running_since=talk.now)


def test_a_skipped_step_has_a_stopped_clock() -> None:
    talk = begun(step("a", sla="1h", retries=0), step("b"))
    talk.stall("a")
    talk.at("10m").skip("a")
    assert talk.step("a").clock == SlaClock(3_600_000, used_us=600_000_000)


def test_the_clock_of_a_checkpoint_runs_from_when_it_is_pending() -> None:
    talk = begun(step("a"), checkpoint("review", sla="1h"), step("b"))
    talk.at("10m").do("a")
    assert "WakeAt at=+58m" in talk.outstanding()
    talk.at("20m").approve(JDAVIS, "review")
    assert talk.checkpoint("review").clock == SlaClock(3_600_000, used_us=600_000_000)


def test_the_operation_has_a_clock_of_its_own() -> None:
    talk = begun(step("a"), step("b"), sla="100s")
    talk.at("50s").do("a")
    assert talk.at("90s").wake() == ["sla_at_risk sla_ms=1m40s due_at=+1m20s late_ms=10s"]
    assert talk.at("100s").do("b")[0] == "sla_breach sla_ms=1m40s due_at=+1m40s"
    assert talk.standing() == "completed (1m40s stopped of 1m40s)"


def test_nothing_is_due_after_the_end() -> None:
    talk = begun(step("a", sla="1m", timeout="1m"), sla="1m")
    talk.take("a")
    talk.cancel()
    assert next_due(talk.operation) is None
    assert talk.at("1h").wake() == []


# -- several at once ---------------------------------------------------------------------------------------------------


def test_what_is_due_at_the_same_instant_comes_in_a_fixed_order() -> None:
    talk = begun(step("a", sla="10s", timeout="10s"), sla="10s")
    talk.take("a")
    assert kinds(talk.at("10s").wake()) == ["sla_at_risk", "sla_at_risk", "sla_breach", "sla_breach", "step_failed"]


def test_a_retry_and_a_wait_without_a_worker_come_one_after_the_other() -> None:
    talk = begun(step("a", unattended="1s"))
    assert kinds(talk.at("1s").wake()) == ["unattended"]
    talk.take("a")
    talk.fail("a")
    talk.at("1h")
    assert kinds(talk.wake()) == ["step_queued"]
    assert kinds(talk.at("1h1s").wake()) == ["unattended"]


def test_a_timeout_noticed_late_hides_no_breach_by_failing_the_operation() -> None:
    talk = begun(step("a", sla="12s", timeout="10s", retries=0, on_exhausted="fail"), sla="15s")
    talk.take("a")
    *said, failed, ended = kinds(talk.at("20s").wake())
    assert said == ["sla_at_risk", "sla_at_risk", "sla_breach", "sla_breach"]
    assert (failed, ended) == ("step_failed", "operation_failed")


def test_a_timeout_noticed_late_hides_no_breach_by_stopping_the_clock() -> None:
    talk = begun(step("a", sla="12s", timeout="10s"))
    talk.take("a")
    talk.at("1s").pause()
    assert kinds(talk.at("20s").wake()) == ["sla_at_risk", "sla_breach", "step_failed"]


# -- waiting without a worker ------------------------------------------------------------------------------------------


def test_a_step_that_no_worker_takes_is_unattended_after_a_while() -> None:
    talk = begun(step("a"))
    assert talk.at("14m59s").wake() == []
    assert talk.at("15m2s").wake() == ["unattended a due_at=+15m late_ms=2s"]
    assert talk.outstanding() == ["RunStep a attempt=1 svc=Svc queued_at=+0s"]
    assert talk.at("1h").wake() == []


def test_each_wait_for_a_worker_has_its_own_while() -> None:
    talk = begun(step("a"))
    talk.at("10m").take("a")
    talk.at("12m").lose("a")
    assert talk.at("26m").wake() == []
    assert talk.at("27m").wake() == ["unattended a due_at=+27m"]
    talk.at("28m").take("a")
    talk.at("29m").fail("a")
    assert kinds(talk.at("30m").wake()) == ["step_queued"]
    assert kinds(talk.at("45m").wake()) == ["unattended"]


def test_a_retry_by_an_operator_is_a_wait_of_its_own() -> None:
    talk = begun(step("a", retries=0))
    talk.at("16m").wake()
    talk.stall("a")
    talk.at("1h").retry("a")
    assert kinds(talk.at("1h15m").wake()) == ["unattended"]


def test_a_running_step_is_not_unattended() -> None:
    talk = begun(step("a"))
    talk.take("a")
    assert talk.outstanding() == ["AwaitReport a attempt=1 svc=Svc session=Svc-1"]
    assert talk.at("1d").wake() == []


# -- time itself -------------------------------------------------------------------------------------------------------


def test_a_clock_that_runs_backwards_is_held_at_the_last_event() -> None:
    talk = begun(step("a"), step("b"))
    talk.at("10m").take("a")
    talk.at("5m").finish("a")
    assert [event.at - EPOCH for event in talk.events] == [0, 600_000_000, 600_000_000]


def test_no_time_is_counted_twice_when_the_clock_runs_backwards() -> None:
    talk = begun(step("a", sla="1h"))
    talk.at("10m").pause()
    talk.at("5m").resume()
    talk.at("12m").do("a")
    assert talk.step("a").clock == SlaClock(3_600_000, used_us=720_000_000)


def test_news_for_an_operation_that_never_began_says_nothing() -> None:
    assert Dialogue(flow_of(step("a"))).hear(TimerDue(DAEMON)) == []


def test_a_start_says_everything_it_was_told() -> None:
    talk = Dialogue(flow_of(step("a")))
    told = Start(
        CITIZEN,
        talk.flow,
        payload("in"),
        labels=payload("labels"),
        key=payload("key"),
        requested_by=payload("for"),
        reason=payload("why"),
    )
    assert talk.hear(told) == [
        "operation_started by=citizen flow=flow input=in labels=labels key=key requested_by=for reason=why"
    ]


# -- the ledger of a clock ---------------------------------------------------------------------------------------------


@given(st.integers(1, 10**9), st.lists(st.tuples(st.booleans(), st.integers(0, 10**9)), max_size=20))
def test_a_clock_counts_the_time_it_runs_and_no_other(budget_ms: int, moves: list[tuple[bool, int]]) -> None:
    clock, now, used, is_running = SlaClock(budget_ms), 0, 0, False
    for starts, passed in moves:
        now += passed
        used += passed if is_running else 0
        clock = clock.start(now) if starts else clock.stop(now)
        is_running = starts
        assert clock.used_at(now) == used
        assert (clock.running_since is not None) is is_running
        reading = clock.read(1, now)
        assert reading.used_ms == used // 1000
        assert reading.used_ms + reading.remaining_ms == budget_ms


@given(st.integers(1, 10**9), st.integers(0, 10**9), st.integers(0, 10**12))
def test_a_running_clock_is_due_when_its_budget_is_used_up(budget_ms: int, used_us: int, since: int) -> None:
    clock = SlaClock(budget_ms, used_us=used_us, running_since=since)
    assert clock.at_risk_due is not None
    assert clock.breach_due is not None
    assert clock.used_at(max(since, clock.breach_due)) >= budget_ms * 1000
    assert clock.used_at(max(since, clock.breach_due - 1)) < budget_ms * 1000 or used_us >= budget_ms * 1000
    assert clock.at_risk_due <= clock.breach_due
    assert clock.next_due == clock.at_risk_due


def test_what_has_been_said_of_a_clock_is_not_due_again() -> None:
    clock = SlaClock(1_000, running_since=0)
    at_risk = replace(clock, is_at_risk=True)
    breached = replace(at_risk, is_breached=True)
    assert (clock.at_risk_due, clock.breach_due, clock.next_due) == (800_000, 1_000_000, 800_000)
    assert (at_risk.at_risk_due, at_risk.breach_due, at_risk.next_due) == (None, 1_000_000, 1_000_000)
    assert (breached.at_risk_due, breached.breach_due, breached.next_due) == (None, None, None)


def test_nothing_is_due_of_a_clock_that_stands_still() -> None:
    clock = SlaClock(1_000, used_us=999_999)
    assert (clock.at_risk_due, clock.breach_due, clock.next_due) == (None, None, None)
