"""hmsact.testing: a real daemon inside a test, its clock, its crashes, and workers beside the test."""

import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from hmsact import Call, Checkpoint, Refused, Step, StepError, Unavailable
from hmsact.testing import Daemon, DaemonNotStarted, find_hmsactd

FLOW = [Step("check", svc="IRS", sla="2m"), Checkpoint("review", role="fsa.officer", sla="2d")]


def test_a_flow_with_its_workers_and_days_in_a_moment() -> None:
    with Daemon() as daemon, daemon.orchestrator() as act, daemon.orchestrator("dev:jdavis@fsa.gov") as officer:
        irs = daemon.worker("IRS")

        @irs.step("check")
        def check(call: Call) -> dict[str, int]:
            if call.attempt == 1:
                raise StepError("502", code="HTTP_502")
            return {"attempt": call.attempt}

        operation = act.start(name="flow", steps=FLOW)
        before = daemon.advance("2m")
        with daemon.serving(irs):
            told = act.events(operation)
            kinds = [next(told).kind for _ in range(3)]
            daemon.advance("10s")
            kinds += [next(told).kind for _ in range(2)]
            # The clock also goes on by itself.
            assert timedelta(days=3) < daemon.advance("3d") - before < timedelta(days=3, minutes=2)
            officer.approve(operation, "review", "late", seen=officer.shown(operation))
            kinds += [event.kind for event in told]
        assert kinds == [
            "sla_at_risk",
            "sla_breach",
            "step_failed",
            "step_done",
            "checkpoint_pending",
            "sla_at_risk",
            "sla_breach",
            "checkpoint_approved",
            "operation_completed",
        ]
        assert operation.wait().output == {"attempt": 2}
        assert act.timeline(operation)[-1].pretty(utc=True).startswith("[2")


def test_what_was_recorded_outlives_a_stop_and_a_crash() -> None:
    with Daemon() as daemon, daemon.orchestrator() as act:
        operation = act.start(name="flow", steps=FLOW)
        address = daemon.address
        assert daemon.stop() == 0
        with pytest.raises(Unavailable):
            act.get(operation)
        daemon.start()
        assert daemon.address == address
        assert act.get(operation).state == "running"
        daemon.kill()
        assert daemon.pid is None
        daemon.start()
        assert act.get(operation).sequence == operation.sequence


def test_a_worker_that_is_refused_fails_the_test() -> None:
    with Daemon() as daemon:
        impostor = daemon.worker("IRS", token="dev:svc/FSA")
        impostor.step("check")(lambda call: None)

        def serve() -> None:
            with daemon.serving(impostor):
                pass

        with pytest.raises(BaseExceptionGroup) as caught:
            serve()
        assert caught.group_contains(Refused, match="may not serve IRS")


def test_a_daemon_that_cannot_start_says_why() -> None:
    with pytest.raises(DaemonNotStarted, match="No such option"):
        Daemon(arguments=["--no-such-option"]).start()


def test_where_no_daemon_is_installed_the_error_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(DaemonNotStarted, match="pip install hmsactd"):
        find_hmsactd(str(tmp_path / "python"), path=str(tmp_path))


def test_as_a_fixture_of_somebody_elses_tests(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["hmsact.fixtures"]\n')
    (tmp_path / "test_mine.py").write_text(
        "def test_mine(hmsactd):\n    with hmsactd.orchestrator() as act:\n        assert act.info().is_dev\n"
    )
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=50, check=False)
    assert ran.returncode == 0, ran.stdout
    assert "1 passed" in ran.stdout
