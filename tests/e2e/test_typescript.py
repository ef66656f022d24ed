"""The worker and the caller in TypeScript: beside ours, over crashes of either side, with the failures there are."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from hmsact import Operation, Orchestrator, Step
from hmsact.testing import Daemon

from tests.conformance.play import judged
from tests.e2e.raw import eventually

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "clients" / "examples"
DIST = EXAMPLES / "typescript" / "dist"


@pytest.fixture(scope="module")
def node() -> str:
    """Node.js, once the example is built."""
    found = shutil.which("node")
    if found is None or not (DIST / "ready").exists():
        pytest.skip("the TypeScript example is not built (`make tools` does it where there are Node.js 20 and npm)")
    return found


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    with Daemon(test_clock=False) as daemon:
        yield daemon


@pytest.fixture
def act(daemon: Daemon) -> Iterator[Orchestrator]:
    with daemon.orchestrator() as act:
        yield act


class Program:
    """A process of the example that says lines."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.said: list[str] = []

    def line(self) -> str:
        assert self.process.stdout is not None
        self.said.append(self.process.stdout.readline().strip())
        return self.said[-1]

    def until(self, end: str) -> str:
        while not (line := self.line()).endswith(end):
            assert line, f"it ended without saying {end!r}: {self.said}"
        return line

    def rest(self) -> list[str]:
        assert self.process.stdout is not None
        self.said += [line.strip() for line in self.process.stdout]
        return self.said


@contextmanager
def program(daemon: Daemon, *command: str, token: str = "") -> Iterator[Program]:
    environment = os.environ | {"HMSACT_ADDRESS": daemon.address, "HMSACT_TOKEN": token}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, env=environment, text=True) as ran:
        try:
            yield Program(ran)
        finally:
            ran.kill()


def worker(daemon: Daemon, node: str) -> Any:
    """The test build, as a worker of IRS with its steps echo, slow, fail and once."""
    return program(daemon, node, str(DIST / "conformance.js"), "IRS", token="dev:svc/IRS")


def caller(daemon: Daemon, node: str, *arguments: str) -> Any:
    return program(daemon, node, str(DIST / "caller.js"), *arguments)


def kinds(act: Orchestrator, operation: Operation) -> list[str]:
    return [event.kind for event in act.events(operation, all=True, follow=False)]


# -- the caller --------------------------------------------------------------------------------------------------------


def test_it_serves_the_demo_beside_python_and_its_caller_follows_the_whole_of_it(daemon: Daemon, node: str) -> None:
    with ExitStack() as stack:
        for file, svc in (("fsa", "FSA"), ("irs", "IRS"), ("treasury", "Treasury")):
            python = (sys.executable, str(EXAMPLES / "loan_forgiveness" / f"{file}.py"))
            stack.enter_context(program(daemon, *python, token=f"dev:svc/{svc}"))
        stack.enter_context(program(daemon, node, str(DIST / "email.js"), token="dev:svc/Email"))
        ran = stack.enter_context(caller(daemon, node, "--yes"))
        said = ran.rest()
        assert ran.process.wait(20) == 0
    told = [line.partition(" ")[2] for line in said]
    for line in (
        "ELIGIBILITY_CHECK → failed, retry 1/3",
        "HUMAN_REVIEW → pending (waiting on officer)",
        "HUMAN_REVIEW → approved by jdavis@fsa.gov",
        "NOTIFY_APPLICANT → done",
        "OPERATION → completed",
    ):
        assert line in told, said
    output = json.loads(said[-1].removeprefix("Output: "))
    assert output["to"] == "maria.ortiz@example.org"
    assert "Dear Maria Ortiz," in output["body"]


def test_its_caller_sees_every_event_once_over_crashes_of_the_daemon(
    daemon: Daemon, act: Orchestrator, node: str, tmp_path: Path
) -> None:
    flow = tmp_path / "flow.json"
    items = [{"checkpoint": f"review_{number}", "role": "fsa.officer"} for number in range(4)]
    flow.write_text(json.dumps({"name": "flow", "steps": items}))
    with caller(daemon, node, "--flow", str(flow), "--every-event") as ran:
        operation = act.get(ran.line().removeprefix("Operation ID: "))
        for number in range(4):
            ran.until("checkpoint_pending")
            # Killed while it is watched, and sometimes once more before anything new has happened.
            for _ in range(number % 2 + 1):
                daemon.kill()
                daemon.start()
            with daemon.orchestrator("dev:jdavis@fsa.gov") as officer:
                officer.approve(operation.id, f"review_{number}")
        said = ran.rest()
        assert ran.process.wait(20) == 0
    seen = [line for line in said if line[:1].isdigit()]
    assert seen == [f"{number} {kind}" for number, kind in enumerate(kinds(act, operation), 1)]


def test_its_caller_starts_nothing_twice_under_one_request_id(daemon: Daemon, act: Orchestrator, node: str) -> None:
    ids = set()
    for _ in range(2):
        with caller(daemon, node, "--request-id", "case-17") as ran:
            ids.add(ran.line())
    assert len(ids) == 1
    assert act.count() == 1


def test_its_caller_shows_every_fault_of_a_request_at_its_place(daemon: Daemon, node: str, tmp_path: Path) -> None:
    flow = tmp_path / "flow.json"
    flow.write_text('{"name": "No Name", "steps": [{"step": "check"}]}')
    command = (node, str(DIST / "caller.js"), "--flow", str(flow))
    environment = os.environ | {"HMSACT_ADDRESS": daemon.address}
    ran = subprocess.run(command, capture_output=True, text=True, timeout=30, env=environment, check=False)
    assert ran.returncode == 1
    first, *faults = ran.stderr.splitlines()
    assert first.endswith("(INVALID_REQUEST)")
    assert [fault.split(":")[0].strip() for fault in faults] == ["definition/name", "definition/steps/0/svc"]


def test_its_caller_is_told_who_it_is_not(daemon: Daemon, node: str) -> None:
    environment = os.environ | {"HMSACT_ADDRESS": daemon.address, "HMSACT_TOKEN": "nobody"}
    ran = subprocess.run(
        (node, str(DIST / "caller.js")), capture_output=True, text=True, timeout=30, env=environment, check=False
    )
    assert ran.returncode == 1
    (line,) = ran.stderr.splitlines()
    assert "UNAUTHENTICATED" in line.upper() or "TOKEN" in line.upper()


# -- the worker --------------------------------------------------------------------------------------------------------


@pytest.mark.timeout(120)
def test_the_worker_passes_every_check_of_conformance(node: str) -> None:
    code, checks = judged(node, str(DIST / "conformance.js"), "Agency")
    assert [check for check in checks.values() if check["outcome"] != "passed"] == []
    assert code == 0


@pytest.mark.parametrize("is_crash", [False, True])
def test_a_step_in_its_hands_is_not_repeated_when_the_daemon_restarts(
    daemon: Daemon, act: Orchestrator, node: str, is_crash: bool
) -> None:
    with worker(daemon, node) as ran:
        operation = act.start(name="flow", steps=[Step("slow", svc="IRS")], input={"seconds": 1.5})
        assert ran.line() == "slow 1: begun"
        if is_crash:
            daemon.kill()
        else:
            assert daemon.stop() == 0
        daemon.start()
        assert operation.wait("20s").state == "completed"
        ran.process.terminate()
        assert ran.process.wait(20) == 0
        assert ran.rest() == ["slow 1: begun"]
    assert kinds(act, operation) == ["operation_started", "step_started", "step_done", "operation_completed"]


def test_what_is_done_while_the_daemon_is_away_is_reported_when_it_is_back(
    daemon: Daemon, act: Orchestrator, node: str
) -> None:
    with worker(daemon, node) as ran:
        operation = act.start(name="flow", steps=[Step("slow", svc="IRS")], input={"seconds": 0.3})
        assert ran.line() == "slow 1: begun"
        daemon.kill()
        # It is told to leave while nobody is there to hear its report: it stays until somebody is.
        ran.process.send_signal(signal.SIGTERM)
        daemon.start()
        assert operation.wait("20s").state == "completed"
        assert ran.process.wait(20) == 0
    assert "step_lost" not in kinds(act, operation)


def test_the_step_of_a_worker_that_was_killed_goes_to_another_as_a_new_attempt(
    daemon: Daemon, act: Orchestrator, node: str
) -> None:
    with worker(daemon, node) as ran:
        operation = act.start(name="flow", steps=[Step("slow", svc="IRS")], input={"seconds": 1})
        assert ran.line() == "slow 1: begun"
        ran.process.kill()
        ran.process.wait(20)
        with worker(daemon, node) as other:
            # Only when its grace is over.
            assert other.line() == "slow 2: begun"
            assert operation.wait("20s").state == "completed"
    assert kinds(act, operation) == [
        "operation_started",
        "step_started",
        "step_lost",
        "step_started",
        "step_done",
        "operation_completed",
    ]


def test_failures_are_tried_again_unless_they_are_for_good(daemon: Daemon, act: Orchestrator, node: str) -> None:
    step = Step("fail", svc="IRS", retry_delay="100ms")
    with worker(daemon, node):
        passing = act.start(name="flow", steps=[step], input={"until": 3, "code": "HTTP_502"})
        lasting = act.start(name="flow", steps=[step], input={"permanent": True, "code": "FORM_INVALID"})
        assert passing.wait("20s").output == {"attempt": 3}
        assert lasting.wait("20s").state == "failed"
    assert kinds(act, passing).count("step_failed") == 2
    assert kinds(act, lasting).count("step_started") == 1


def test_a_call_that_nobody_waits_for_is_given_up(daemon: Daemon, act: Orchestrator, node: str) -> None:
    with worker(daemon, node) as ran:
        operation = act.start(name="flow", steps=[Step("slow", svc="IRS")], input={"seconds": 600})
        assert ran.line() == "slow 1: begun"
        act.cancel(operation)
        assert ran.line() == "slow 1: stopped"
        eventually(lambda: "step_report_ignored" in kinds(act, operation))
    assert operation.refresh().state == "cancelled"


def test_a_worker_that_may_not_serve_ends_with_the_reason(daemon: Daemon, node: str) -> None:
    environment = os.environ | {"HMSACT_ADDRESS": daemon.address, "HMSACT_TOKEN": "dev:svc/FSA"}
    command = (node, str(DIST / "conformance.js"), "IRS")
    ran = subprocess.run(command, capture_output=True, text=True, timeout=30, env=environment, check=False)
    assert ran.returncode == 1
    assert "may not serve IRS" in ran.stderr
