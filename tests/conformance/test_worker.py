"""The checks of a worker let every correct one pass, and catch every fault."""

from __future__ import annotations

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

# Many wait on clocks of the daemon; they do so side by side.
pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def verdicts() -> Iterator[dict[str, Future[Judged]]]:
    """What is said of every worker, by its fault; the two correct ones have none."""
    pool = ThreadPoolExecutor(4)
    try:
        command = (sys.executable, str(HERE / "bare_worker.py"), "Agency")
        futures = {"": pool.submit(judged, *command)}
        futures["sdk"] = pool.submit(judged, sys.executable, str(HERE / "sdk_worker.py"), "Agency")
        for fault, check in CAUGHT_BY.items():
            futures[fault] = pool.submit(judged, *command, fault, only=(check,), patience="5")
        yield futures
    finally:
        # Some may not have been asked for.
        pool.shutdown(cancel_futures=True)


def test_every_check_and_every_fault_has_its_counterpart() -> None:
    assert set(CAUGHT_BY) == set(FAULTS)
    assert set(CAUGHT_BY.values()) == {check.name for check in CHECKS} - {"large"}


def test_a_correct_worker_on_generated_code_alone_passes(verdicts: dict[str, Future[Judged]]) -> None:
    code, checks = verdicts[""].result()
    assert [check for check in checks.values() if check["outcome"] != "passed"] == []
    assert len(checks) == len(CHECKS)
    assert code == 0


@pytest.mark.parametrize(("fault", "check"), CAUGHT_BY.items())
def test_a_worker_with_a_fault_is_caught(verdicts: dict[str, Future[Judged]], fault: str, check: str) -> None:
    code, checks = verdicts[fault].result()
    caught = checks[check]
    assert caught["outcome"] == "failed", fault
    assert caught["expected"]
    assert caught["happened"]
    assert caught["read"].startswith("docs/implementing.md#")
    assert code == 1


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
