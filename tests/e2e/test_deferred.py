"""Deferred steps through real processes: deferred by one that ends, completed by another, whatever dies between."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from hmsact import (
    AsyncOrchestrator,
    Call,
    InvalidArgument,
    Operation,
    Orchestrator,
    PreconditionFailed,
    Refused,
    Step,
    Unauthenticated,
)
from hmsact.testing import Daemon

IRS = "dev:svc/IRS"

# Defers one step, says with which token, and ends.
DEFERS = """
import asyncio, sys
from hmsact import Worker

irs = Worker("IRS", token="dev:svc/IRS", max_in_flight=1)

@irs.step("check")
def check(call):
    print(call.defer(within=sys.argv[1] or None), flush=True)
    irs_loop.call_soon_threadsafe(irs.stop)

async def main():
    global irs_loop
    irs_loop = asyncio.get_running_loop()
    await irs.serve()

asyncio.run(main())
"""

COMPLETES = """
import sys
from hmsact import Orchestrator

with Orchestrator(token="dev:svc/IRS") as act:
    print(act.complete_step(sys.argv[1], {"by": "batch"}).state)
"""

FLOW = [Step("check", svc="IRS")]


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    with Daemon() as daemon:
        yield daemon


@pytest.fixture
def act(daemon: Daemon) -> Iterator[Orchestrator]:
    with daemon.orchestrator() as act:
        yield act


@pytest.fixture
def irs(daemon: Daemon) -> Iterator[Orchestrator]:
    with daemon.orchestrator(IRS) as irs:
        yield irs


def ran(daemon: Daemon, program: Sequence[str], *arguments: str) -> str:
    """What a process of its own prints, until it has ended by itself."""
    environment = os.environ | {"HMSACT_ADDRESS": daemon.address}
    said = subprocess.run(
        [sys.executable, *program, *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        timeout=40,
        check=True,
    )
    return said.stdout.strip()


def deferred(daemon: Daemon, within: str = "") -> str:
    """The token with which a worker's process has deferred a step, and ended."""
    return ran(daemon, ["-c", DEFERS], within)


def kinds(act: Orchestrator, operation: Operation) -> list[str]:
    return [event.kind for event in act.events(operation, all=True, follow=False)]


@pytest.mark.parametrize("is_crash", [False, True], ids=["while it runs", "the daemon was killed between"])
def test_one_process_defers_and_ends_and_another_completes(daemon: Daemon, act: Orchestrator, is_crash: bool) -> None:
    operation = act.start(name="flow", steps=FLOW)
    token = deferred(daemon)
    assert operation.refresh().state == "running"
    assert operation.awaited.kind == "completion"
    if is_crash:
        daemon.kill()
        daemon.start()
        daemon.advance("10m")
    assert ran(daemon, ["-c", COMPLETES], token) == "completed"
    assert operation.refresh().output == {"by": "batch"}
    assert kinds(act, operation) == [
        *("operation_started", "step_started", "step_deferred", "step_done", "operation_completed"),
    ]
    done = next(event for event in act.events(operation, follow=False) if event.kind == "step_done")
    assert (done.principal.id, done.data["via"]) == (IRS, "token")
    assert operation.items[0].attempt == 1


def test_two_days_later_it_is_completed_and_the_sla_has_gone_on(
    daemon: Daemon, act: Orchestrator, irs: Orchestrator
) -> None:
    operation = act.start(name="flow", steps=[Step("check", svc="IRS", sla="1d", timeout="1h")])
    token = deferred(daemon, "3d")
    daemon.advance("2d")
    (item,) = operation.refresh().items
    assert item.deferred_time is not None
    assert item.completion_due_time is not None
    assert (item.completion_due_time - item.deferred_time).days == 3
    assert irs.complete_step(token, "late but in time").state == "completed"
    assert [event.kind for event in act.events(operation, follow=False)] == [
        *("sla_at_risk", "sla_breach", "step_done", "operation_completed"),
    ]
    assert act.timeline(operation)[0].event.kind == "step_deferred"
    assert "deferred, to be completed by " in act.timeline(operation)[0].pretty()


def test_too_late_is_refused_and_kept_and_the_next_attempt_has_a_token_of_its_own(
    daemon: Daemon, act: Orchestrator, irs: Orchestrator
) -> None:
    operation = act.start(name="flow", steps=FLOW)
    first = deferred(daemon, "1h")
    daemon.advance("61m")
    with pytest.raises(PreconditionFailed, match="too late: attempt 1 of check is over") as late:
        irs.complete_step(first, {"paid": 7})
    assert late.value.reason == "ATTEMPT_OVER"
    second = deferred(daemon)
    assert second != first
    with pytest.raises(PreconditionFailed, match="attempt 2 is under way"):
        irs.complete_step(first, {"paid": 7})
    assert irs.complete_step(second, {"paid": 8}).state == "completed"
    (kept,) = [event for event in act.events(operation, all=True, follow=False) if event.kind == "step_report_ignored"]
    assert (kept.payloads["output"], kept.attempt, kept.data["via"]) == ({"paid": 7}, 1, "token")
    assert operation.refresh().output == {"paid": 8}


def test_after_a_cancel_what_comes_is_kept_with_its_result(
    daemon: Daemon, act: Orchestrator, irs: Orchestrator
) -> None:
    operation = act.start(name="flow", steps=FLOW)
    token = deferred(daemon)
    act.cancel(operation)
    for _ in range(2):
        with pytest.raises(PreconditionFailed, match="the operation is cancelled") as late:
            irs.fail_step(token, "the loan was not found", code="NO_LOAN")
        assert late.value.reason == "OPERATION_FINAL"
    told = list(act.events(operation, all=True, follow=False))
    assert [event.kind for event in told][-2:] == ["operation_cancelled", "step_report_ignored"]
    assert (told[-1].payloads["error"], told[-1].data["code"]) == ("the loan was not found", "NO_LOAN")


def test_while_it_is_paused_it_may_be_completed_and_goes_on_when_resumed(
    daemon: Daemon, act: Orchestrator, irs: Orchestrator
) -> None:
    operation = act.start(name="flow", steps=[*FLOW, Step("pay", svc="Treasury")])
    token = deferred(daemon)
    act.pause(operation)
    assert irs.complete_step(token).state == "paused"
    act.resume(operation)
    assert operation.refresh().awaited.name == "pay"


def test_twice_with_one_request_id_is_once_and_with_another_is_refused_with_when_and_by_whom(
    daemon: Daemon, act: Orchestrator, irs: Orchestrator
) -> None:
    operation = act.start(name="flow", steps=FLOW)
    token = deferred(daemon)
    first = irs.complete_step(token, 7, request_id="night-1")
    again = irs.complete_step(token, 7, request_id="night-1")
    assert (first.is_repeated, again.is_repeated) == (False, True)
    assert (again.sequence, again.receipt) == (first.sequence, first.receipt)
    assert first.operation_id == operation.id
    with pytest.raises(PreconditionFailed) as twice:
        irs.complete_step(token, 7)
    assert twice.value.reason == "ALREADY_COMPLETED"
    assert twice.value.metadata["completed_by"] == IRS
    assert f"Z by {IRS}" in str(twice.value)
    assert kinds(act, operation).count("step_done") == 1


def test_failing_it_is_tried_again_and_failing_it_for_good_ends_it(
    daemon: Daemon, act: Orchestrator, irs: Orchestrator
) -> None:
    operation = act.start(name="flow", steps=FLOW)
    assert irs.fail_step(deferred(daemon), "the tape is torn", code="NO_TAPE", retry_after="1m").state == "waiting"
    daemon.advance("59s")
    assert operation.refresh().items[0].state == "retrying"
    daemon.advance("5s")
    assert irs.fail_step(deferred(daemon), "there is no such loan", retryable=False).state == "failed"
    failed = [event for event in act.events(operation, follow=False) if event.kind == "step_failed"]
    assert [event.data["code"] for event in failed] == ["NO_TAPE", "ERROR"]
    assert [event.payloads["error"] for event in failed] == ["the tape is torn", "there is no such loan"]


def test_who_may_not_serve_the_step_cannot_complete_it_with_its_token(daemon: Daemon, act: Orchestrator) -> None:
    operation = act.start(name="flow", steps=FLOW)
    token = deferred(daemon)
    for who in ("dev:svc/FSA", "dev:jdavis@fsa.gov", "dev:casebot"):
        with daemon.orchestrator(who) as other, pytest.raises(Refused):
            other.complete_step(token)
    with daemon.orchestrator("nobody") as nobody, pytest.raises(Unauthenticated):
        nobody.complete_step(token)
    assert kinds(act, operation)[-1] == "step_deferred"
    # Whoever has every permission may.
    assert act.complete_step(token).state == "completed"


def test_forged_cut_and_foreign_tokens_are_refused_in_a_sentence(
    daemon: Daemon, act: Orchestrator, irs: Orchestrator
) -> None:
    operation = act.start(name="flow", steps=FLOW)
    token = deferred(daemon)
    middle = len(token) // 2
    other = "A" if token[middle] != "A" else "B"
    forged = [token[:-1], token[1:], token + "A", token[:middle] + other + token[middle + 1 :], operation.id, "done_"]
    forged += ["done_" + "A" * 5000, "done_\u00fc", "\n", token.upper(), f" {token}"]
    for wrong in forged:
        with pytest.raises(InvalidArgument, match="not a completion token of this daemon") as refused:
            irs.complete_step(wrong)
        assert [violation.reason for violation in refused.value.violations] == ["BAD_TOKEN"]
    with pytest.raises(InvalidArgument, match="says no token"):
        irs.complete_step("")
    with Daemon() as foreign, foreign.orchestrator(IRS) as elsewhere, pytest.raises(InvalidArgument):
        elsewhere.complete_step(token)
    assert kinds(act, operation)[-1] == "step_deferred"


def test_every_fault_of_a_completion_is_told_and_nothing_is_lost_by_it(
    daemon: Daemon, act: Orchestrator, irs: Orchestrator
) -> None:
    act.start(name="flow", steps=FLOW)
    token = deferred(daemon)
    with pytest.raises(InvalidArgument) as refused:
        irs.fail_step("nonsense", "x" * 5000, code="no code", request_id="x" * 65)
    assert {violation.field for violation in refused.value.violations} == {
        *("completion_token", "failed.message", "failed.code", "request_id"),
    }
    with pytest.raises(InvalidArgument, match="262144"):
        irs.complete_step(token, "x" * 300_000)
    assert irs.complete_step(token, "small").state == "completed"


async def test_the_client_for_coroutines_has_the_same(daemon: Daemon, act: Orchestrator) -> None:
    act.start(name="flow", steps=FLOW)
    act.start(name="flow", steps=FLOW)
    async with AsyncOrchestrator(daemon.address, token=IRS) as irs:
        assert (await irs.complete_step(deferred(daemon), [1])).state == "completed"
        assert (await irs.fail_step(deferred(daemon), "no", retryable=False)).state == "failed"


def test_the_command_line_completes_and_fails_and_shows_what_is_deferred(
    daemon: Daemon, act: Orchestrator, tmp_path: Path
) -> None:
    def hmsact(*arguments: str, token: str = IRS, code: int = 0) -> str:
        environment = os.environ | {"HMSACT_ADDRESS": daemon.address, "HMSACT_TOKEN": token}
        said = subprocess.run(
            [Path(sys.executable).with_name("hmsact"), *arguments],
            env=environment,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert said.returncode == code, said.stderr
        return (said.stdout + said.stderr).strip()

    first, second = (act.start(name="flow", steps=FLOW) for _ in range(2))
    token = deferred(daemon, "2d")
    shown = hmsact("get", first.id)
    assert "deferred since" in shown
    assert "to be completed by" in shown
    assert "check: IRS to complete it" in hmsact("list", "--state", "running")
    file = tmp_path / "output.json"
    file.write_text('{"eligible": true}')
    assert hmsact("complete", token, "--output", f"@{file}") == f"{first.id} step done; it is completed (event 5)"
    assert "was completed before" in hmsact("complete", token, code=1)
    assert first.refresh().output == {"eligible": True}
    said = json.loads(hmsact("--json", "complete", deferred(daemon), "--error", "no tape", "--no-retry"))
    assert (said["operation_id"], said["state"]) == (second.id, "failed")
    assert "belong to --error" in hmsact("complete", token, "--no-retry", code=2)
    assert "either an --output or an --error" in hmsact("complete", token, "--output", "1", "--error", "x", code=2)
    assert "not JSON" in hmsact("complete", token, "--output", "{", code=2)


def test_what_is_deferred_takes_no_place_at_its_worker(daemon: Daemon, act: Orchestrator) -> None:
    tokens: list[str] = []
    worker = daemon.worker("IRS", max_in_flight=1)

    @worker.step("check")
    async def check(call: Call) -> str:
        tokens.append(call.defer())
        return tokens[-1]

    started = [act.start(name="flow", steps=FLOW) for _ in range(30)]
    with daemon.serving(worker):
        for operation in started:
            next(event for event in act.events(operation, all=True) if event.kind == "step_deferred")
    assert len(set(tokens)) == 30
    assert act.count(service="IRS", state="running") == 30
    assert act.counted("awaited.service").groups == {"IRS": 30}
