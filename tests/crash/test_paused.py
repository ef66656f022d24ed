"""The daemon stands still for longer than everybody waits, then goes on: nothing is lost, and nothing done twice.

A paused machine, a debugger, a stop by mistake. When it goes on, every deadline has passed: of workers' grace, of
heartbeats, of attempts, of callers. Reports that were on their way all the time arrive together with the timers.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from hmsact.testing import Daemon

from tests.crash import record
from tests.crash.test_sigkill import (
    HERE,
    PATIENCE_S,
    STEPS,
    Acknowledged,
    all_are_completed,
    check_exports,
    check_kept,
    program,
    until,
)

PAUSES = int(os.environ.get("HMSACT_SOAK_PAUSES", "2"))
PAUSE_S = 6.0
"""Longer than a worker's grace (2 s), a heartbeat (1 s), an attempt (2 s), and a caller's patience (5 s)."""
DEADLINES = '{"timeout": "2s", "heartbeat": "1s", "retries": 100, "retry_delay": "100ms"}'


@pytest.mark.timeout(90 + 15 * PAUSES)
def test_a_daemon_paused_for_longer_than_every_deadline_loses_nothing_and_does_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record_testsuite_property: Callable[[str, object], None]
) -> None:
    monkeypatch.setenv("HMSACTD_WORKERS__GRACE", "2s")
    monkeypatch.setenv("AGENCY_TAKES_S", "0.1")
    daemon = Daemon(tmp_path / "data", test_clock=False)
    acknowledged = Acknowledged(tmp_path / "acknowledged")
    with ExitStack() as stack:
        stack.callback(daemon.stop)
        daemon.start()
        assert daemon.pid is not None
        for svc, steps in STEPS.items():
            stack.enter_context(program(str(HERE / "agency.py"), svc, *steps, address=daemon.address))
        load = (daemon.address, str(acknowledged.path), "16", "150", DEADLINES)
        client = stack.enter_context(program(str(HERE / "client.py"), *load))
        with daemon.orchestrator() as act:
            key = act.info().verifier_key
        for _ in range(PAUSES):
            before = acknowledged.count()
            until(lambda before=before: acknowledged.count() >= before + 100, "there is load")  # type: ignore[misc]
            os.kill(daemon.pid, signal.SIGSTOP)
            try:
                # Nobody can tell it anything: only time makes deadlines pass.
                time.sleep(PAUSE_S)
            finally:
                os.kill(daemon.pid, signal.SIGCONT)
        before = acknowledged.count()
        until(lambda: acknowledged.count() >= before + 100, "it goes on")
        assert client.stdin is not None
        client.stdin.close()
        assert client.wait(PATIENCE_S) == 0, "every start was answered in the end"
        with daemon.orchestrator() as act:
            until(lambda: all_are_completed(act), "every operation completes")
            started = acknowledged.lines()
            check_exports(act, key, started)
        assert daemon.stop() == 0
    happened = check_kept(record.read(tmp_path / "data"), key, started)
    # Otherwise no deadline has passed with anything in hand, and nothing was tried.
    assert happened["step_lost"] + happened["step_failed"] > happened["operation_started"] // 50 + 5
    figures = {"pauses": PAUSES, "acknowledged": len(started), **happened}
    for name, figure in figures.items():
        record_testsuite_property(f"paused.{name}", figure)
    print(figures)
