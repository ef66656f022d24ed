"""A clock that somebody sets, forth and back, while the daemon runs and while it doesn't."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from datetime import datetime

import pytest
from hmsact import Call, Checkpoint, Step, Worker

from tests.faults.faults import Faults
from tests.faults.tower import Tower, serving, until

HOUR_NS = 3_600 * 10**9


def jumps(tower: Tower, direction: str) -> float:
    return tower.metric(f'hmsact_clock_jumps_total{{direction="{direction}"}}')


def kinds(tower: Tower, operation: str) -> Counter[str]:
    with tower.orchestrator() as act:
        return Counter(event.kind for event in act.events(operation, follow=False, all=True))


def check_order(tower: Tower, operation: str) -> None:
    """Time does not go back on a timeline."""
    with tower.orchestrator() as act:
        records = [json.loads(entry["record"]) for entry in json.loads(act.export(operation))["records"]]
    times = [datetime.fromisoformat(record["at"]) for record in records]
    assert times == sorted(times)


@pytest.mark.timeout(60)
def test_an_hour_forth_fires_what_is_due_by_then_once_and_an_hour_back_nothing_again(
    tower: Tower, faults: Faults
) -> None:
    tower.start()
    with tower.orchestrator() as act, tower.orchestrator("dev:jdavis@fsa.gov") as officer:
        soon = act.start(name="flow", steps=[Checkpoint("review", role="fsa.officer", sla="30m")]).id
        late = act.start(name="flow", steps=[Checkpoint("review", role="fsa.officer", sla="2h")]).id
        faults.set(clock_ahead_ns=HOUR_NS)
        until(lambda: kinds(tower, soon)["sla_breach"] == 1, "what is due is noticed")
        until(lambda: jumps(tower, "forward") == 1, "the jump is counted")
        faults.set(clock_ahead_ns=0)
        until(lambda: jumps(tower, "back") == 1, "the jump back is counted")
        faults.set(clock_ahead_ns=HOUR_NS)
        until(lambda: jumps(tower, "forward") == 2, "and the next one")
        faults.set(clock_ahead_ns=0)
        until(lambda: jumps(tower, "back") == 2, "and back")
        assert kinds(tower, soon)["sla_breach"] == kinds(tower, soon)["sla_at_risk"] == 1
        assert not kinds(tower, late)["sla_breach"] + kinds(tower, late)["sla_at_risk"]
        for operation in (soon, late):
            officer.approve(operation, "review")
            assert act.wait(operation, "20s").state == "completed"
            check_order(tower, operation)
    assert len(tower.lines("the machine's clock was set")) == 4


@pytest.mark.timeout(60)
def test_no_heartbeat_is_missed_and_no_worker_lost_because_somebody_set_the_clock(tower: Tower, faults: Faults) -> None:
    tower.start()
    worker = Worker("Irs", address=tower.address, token="dev:svc/Irs")

    @worker.step("ask")
    def ask(call: Call) -> int:
        for ahead in (HOUR_NS, 0, -HOUR_NS, 0):
            call.heartbeat()
            before = jumps(tower, "forward") + jumps(tower, "back")
            faults.set(clock_ahead_ns=ahead)
            until(lambda before=before: jumps(tower, "forward") + jumps(tower, "back") > before, "it is noticed")  # type: ignore[misc]
        return call.attempt

    with tower.orchestrator() as act, serving(worker):
        operation = act.start(name="flow", steps=[Step("ask", svc="Irs", heartbeat="20s")])
        ended = act.wait(operation.id, "40s")
        assert (ended.state, ended.output) == ("completed", 1)
        check_order(tower, operation.id)


@pytest.mark.timeout(60)
def test_while_the_clock_is_back_what_runs_by_spans_goes_on(tower: Tower, faults: Faults) -> None:
    tower.environment |= {"HMSACTD_ENGINE__IDLE": "1s", "HMSACTD_STORE__FREE_BYTES_MIN": "0"}
    tower.start()
    with tower.orchestrator() as act:
        faults.set(clock_ahead_ns=-HOUR_NS)
        until(lambda: jumps(tower, "back") == 1, "the jump is noticed")
        # A retry that falls due after the clock was set back comes when it should.
        worker = Worker("Irs", address=tower.address, token="dev:svc/Irs")

        @worker.step("ask")
        def ask(call: Call) -> int:
            if call.attempt == 1:
                raise RuntimeError("once")
            return call.attempt

        with serving(worker):
            began = time.monotonic()
            operation = act.start(name="flow", steps=[Step("ask", svc="Irs")])
            assert act.wait(operation.id, "30s").output == 2
            assert time.monotonic() - began < 15


@pytest.mark.timeout(60)
def test_a_clock_that_is_behind_the_record_at_the_start_is_told_loudly(tower: Tower, faults: Faults) -> None:
    faults.set(clock_ahead_ns=HOUR_NS)
    tower.start()
    with tower.orchestrator() as act:
        operation = act.start(name="flow", steps=[Checkpoint("review", role="fsa.officer")]).id
    assert tower.stop() == 0
    faults.set(clock_ahead_ns=0)
    tower.start()
    assert tower.lines("the clock is behind the last record")
    with tower.orchestrator("dev:jdavis@fsa.gov") as officer:
        officer.approve(operation, "review")
    with tower.orchestrator() as act:
        assert act.wait(operation, "20s").state == "completed"
    check_order(tower, operation)


@pytest.mark.timeout(60)
def test_a_retry_and_a_timeout_that_an_hour_forth_makes_due_happen_once_and_not_again_after_it(
    tower: Tower, faults: Faults
) -> None:
    tower.start()
    attempts: list[int] = []
    is_cut = threading.Event()
    worker = Worker("Irs", address=tower.address, token="dev:svc/Irs")

    @worker.step("again")
    def again(call: Call) -> int:
        attempts.append(call.attempt)
        if call.attempt == 1:
            raise RuntimeError("once")
        return call.attempt

    @worker.step("hang")
    def hang(call: Call) -> None:
        is_cut.wait(30)

    with tower.orchestrator() as act, serving(worker):
        try:
            retried = act.start(
                name="flow", steps=[Step("again", svc="Irs", retry_delay="30m", retry_delay_max="30m")]
            ).id
            timed = act.start(name="flow", steps=[Step("hang", svc="Irs", timeout="30m", retries=0)]).id
            until(lambda: kinds(tower, retried)["step_failed"] == 1, "the first attempt fails")
            until(lambda: kinds(tower, timed)["step_started"] == 1, "the other hangs")
            faults.set(clock_ahead_ns=HOUR_NS)
            until(lambda: kinds(tower, timed)["step_failed"] == 1, "the timeout is noticed")
            assert act.wait(retried, "20s").output == 2
            for ahead_ns, direction, times in ((0, "back", 1), (HOUR_NS, "forward", 2), (0, "back", 2)):
                faults.set(clock_ahead_ns=ahead_ns)
                until(lambda d=direction, t=times: jumps(tower, d) == t, "the jump is counted")  # type: ignore[misc]
            assert attempts == [1, 2]
            assert kinds(tower, timed)["step_failed"] == 1
            for operation in (retried, timed):
                check_order(tower, operation)
        finally:
            is_cut.set()
