"""The checks of a worker let every correct one pass, and catch every fault."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest

from hmsactd.conformance.worker import CHECKS
from tests.conformance.bare_worker import FAULTS
from tests.conformance.play import HERE, HMSACTD, judged, run

CAUGHT_BY = {
    "names_too_few_steps": "hello",
    "reports_before_hello": "hello",
    "wraps_the_output": "call",
    "stays_silent": "call",
    "calls_every_failure_permanent": "retry",
    "calls_no_failure_permanent": "permanent",
    "loses_codes": "retry",
    "goes_by_the_attempt": "key",
    "does_one_at_a_time": "at_once",
    "never_beats": "heartbeat",
    "does_a_repeated_call_again": "twice",
    "dies_of_unknown_fields": "unknown",
    "forgets_what_it_has_reported": "verdict",
    "does_it_again_after_a_cut": "verdict",
    "takes_again_for_recorded": "again",
    "keeps_what_is_stale": "stale",
    "ends_on_stale": "stale",
    "ignores_withdrawal": "withdrawn",
    "shows_no_ticket": "verdict",
    "drops_its_calls_on_a_drain": "drain",
    "ignores_what_is_gone": "gone",
    "ends_when_the_daemon_is_gone": "crash",
    "leaves_without_a_word": "leaving",
    "leaves_with_calls_in_hand": "leaving",
    "exits_badly": "leaving",
    "does_what_it_should_defer": "later",
    "keeps_what_it_deferred": "later",
    "never_completes": "later",
}

Judged = tuple[int, dict[str, dict[str, Any]]]
Caught = dict[str, dict[str, str]]

# Many wait on clocks of the daemon; they do so side by side.
pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def pool() -> Iterator[ThreadPoolExecutor]:
    """Where everything that waits is begun at once."""
    with ThreadPoolExecutor(3) as pool:
        yield pool


@pytest.fixture(scope="module")
def caught(pool: ThreadPoolExecutor) -> Future[Caught]:
    """What is said of every worker with a fault, by its fault."""
    pairs = [word for pair in CAUGHT_BY.items() for word in pair]
    command = [sys.executable, "-m", "tests.conformance.side_by_side", *pairs]

    def play() -> Caught:
        ran = subprocess.run(command, cwd=HERE.parents[1], capture_output=True, text=True, timeout=200, check=True)
        found: Caught = json.loads(ran.stdout)
        return found

    return pool.submit(play)


@pytest.fixture(scope="module")
def verdicts(pool: ThreadPoolExecutor, caught: Future[Caught]) -> dict[str, Future[Judged]]:
    """What is said of the two correct workers. Those with a fault are begun before, and wait beside them."""
    programs = {"bare": "bare_worker.py", "sdk": "sdk_worker.py"}
    return {name: pool.submit(judged, sys.executable, str(HERE / file), "Agency") for name, file in programs.items()}


def test_every_check_and_every_fault_has_its_counterpart() -> None:
    assert set(CAUGHT_BY) == set(FAULTS)
    assert set(CAUGHT_BY.values()) == {check.name for check in CHECKS} - {"large"}


def test_a_correct_worker_on_generated_code_alone_passes(verdicts: dict[str, Future[Judged]]) -> None:
    code, checks = verdicts["bare"].result()
    assert [check for check in checks.values() if check["outcome"] != "passed"] == []
    assert len(checks) == len(CHECKS)
    assert code == 0


@pytest.mark.parametrize("fault", CAUGHT_BY)
def test_a_worker_with_a_fault_is_caught(caught: Future[Caught], fault: str) -> None:
    check = caught.result()[fault]
    assert check["name"] == CAUGHT_BY[fault]
    assert check["outcome"] == "failed"
    assert check["expected"]
    assert check["happened"]
    assert check["read"].startswith("docs/implementing.md#")


def test_the_worker_of_the_sdk_passes(verdicts: dict[str, Future[Judged]]) -> None:
    code, checks = verdicts["sdk"].result()
    assert [check for check in checks.values() if check["outcome"] != "passed"] == []
    assert code == 0


def test_a_worker_that_never_comes_fails_every_check_for_that_reason() -> None:
    ran = run("--worker", "Agency", "--listen", "127.0.0.1:0", "--wait", "0.2")
    assert ran.returncode == 1
    assert ran.stdout.count("expected  a worker of Agency that connects") == len(CHECKS)
    assert f"0 of {len(CHECKS)} checks passed, {len(CHECKS)} failed" in ran.stdout


def test_a_worker_that_ends_at_once_is_said_to_have_ended() -> None:
    code, checks = judged(sys.executable, "-c", "raise SystemExit(7)", only=("call",))
    assert code == 1
    assert checks["call"]["happened"] == "the worker's process ended with exit code 7"


def test_a_worker_of_another_service_is_not_taken_for_the_one_awaited() -> None:
    command = f"""
import os, runpy, sys
os.environ["HMSACT_TOKEN"] = "dev:svc/Other"
sys.argv = ["sdk_worker.py", "Other"]
runpy.run_path({str(HERE / "sdk_worker.py")!r})
"""
    code, checks = judged(sys.executable, "-c", command, only=("call",))
    assert code == 1
    assert checks["call"]["happened"] == "the one that did is of Other"


def test_a_worker_that_is_refused_is_told_with_the_words_of_the_daemon() -> None:
    code, checks = judged(sys.executable, str(HERE / "sdk_worker.py"), "Other", only=("call",))
    assert code == 1
    assert "dev:svc/Agency may not serve Other" in checks["call"]["happened"]


def test_wrong_usage_is_said_in_a_line() -> None:
    ran = run("--worker", "Agency", "--only", "luck")
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.startswith("hmsactd: there is no check called luck; there are hello, call,")


def test_an_address_that_is_taken_is_said_in_a_line() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        ran = run("--worker", "Agency", "--listen", address)
    assert ran.returncode == 1
    assert f"hmsactd: the conformance check can't listen on {address}" in ran.stderr


def test_a_command_that_cannot_be_started_is_said_in_a_line() -> None:
    ran = run("--worker", "Agency", "--listen", "127.0.0.1:0", "--", "/nowhere/worker")
    assert ran.returncode == 1
    assert "hmsactd: /nowhere/worker can't be started: No such file or directory" in ran.stderr


def test_whoever_reads_no_more_than_the_first_line_is_spared_a_traceback() -> None:
    command = [*HMSACTD, "--worker", "Agency", "--listen", "127.0.0.1:0", "--only", "hello", "--only", "call", "--"]
    command += [sys.executable, str(HERE / "bare_worker.py"), "Agency"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        assert running.stdout.readline().startswith("✓ hello")
        running.stdout.close()
        told = running.stderr.read()
        assert running.wait(30) == 1
    assert "Traceback" not in told
    assert "BrokenPipe" not in told


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_check_that_is_stopped_half_way_leaves_nothing_behind(number: signal.Signals, tmp_path: Path) -> None:
    command = [*HMSACTD, "--worker", "Agency", "--listen", "127.0.0.1:0", "--"]
    command += [sys.executable, str(HERE / "bare_worker.py"), "Agency"]
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment, text=True) as running:
        assert running.stdout is not None
        assert running.stdout.readline().startswith("✓ hello")
        started = psutil.Process(running.pid).children()
        assert len(started) == 1
        running.send_signal(number)
        assert running.wait(30) == 1
    _, alive = psutil.wait_procs(started, timeout=20)
    assert alive == []
    assert list(tmp_path.iterdir()) == []
