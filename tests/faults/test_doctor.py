"""`hmsactd doctor` beside a daemon that runs, one that is stopped, and one that is in trouble."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
from hmsact import Checkpoint

from tests.faults.faults import Faults
from tests.faults.test_damage import doctor
from tests.faults.tower import Tower, until

CHECKS = {
    *("settings", "daemon", "open files", "memory", "time service", "directory", "disk", "fsync", "sqlite", "keys"),
    *("database", "schema", "log", "clock", "outside seal", "gRPC", "HTTP"),
}


def by_check(findings: list[dict[str, Any]]) -> dict[str, tuple[str, str]]:
    return {each["check"]: (each["result"], each["sentence"]) for each in findings}


@pytest.fixture
def used(tower: Tower) -> Tower:
    """A daemon that runs and has something on its record."""
    tower.start()
    with tower.orchestrator() as act:
        act.start(name="flow", steps=[Checkpoint("review", role="fsa.officer")])
    return tower


def test_beside_a_running_daemon_everything_is_looked_at_and_nothing_is_changed(used: Tower) -> None:
    code, findings = doctor(used, "--full")
    found = by_check(findings)
    assert (code, {*found}) == (0, CHECKS | {"records", "clock jumps"})
    assert found["daemon"][1] == f"runs, as process {used.pid}"
    assert "the daemon is ready" in found["HTTP"][1]
    assert {level for level, _ in found.values()} <= {"ok", "warn"}
    with used.orchestrator() as act:
        assert act.count() == 1
    assert used.stop() == 0


def test_of_a_stopped_daemon_everything_is_looked_at_but_what_it_would_answer(used: Tower) -> None:
    assert used.stop() == 0
    before = {file.name: file.read_bytes() for file in used.data.iterdir()}
    code, findings = doctor(used)
    found = by_check(findings)
    assert (code, {*found}) == (0, CHECKS)
    assert "is free" in found["gRPC"][1]
    assert {file.name: file.read_bytes() for file in used.data.iterdir() if file.name in before} == before
    assert not [file for file in used.data.iterdir() if "probe" in file.name]


def test_a_daemon_in_trouble_is_a_fail_and_its_reason_is_told(used: Tower, faults: Faults) -> None:
    faults.set(fsync_fails=-1)
    with used.orchestrator(timeout=5) as act:
        until(lambda: not _starts(act) and not used.is_ready(), "it is in trouble")
    code, findings = doctor(used)
    level, sentence = by_check(findings)["HTTP"]
    assert (code, level) == (1, "FAIL")
    assert "STORE_IO_ERROR" in sentence


def test_a_clock_that_was_set_is_told(used: Tower, faults: Faults) -> None:
    faults.set(clock_ahead_ns=-3_600 * 10**9)
    until(lambda: used.metric('hmsact_clock_jumps_total{direction="back"}') == 1, "it is noticed")
    _, findings = doctor(used)
    assert by_check(findings)["clock jumps"][0] == "warn"


def test_without_data_the_first_start_is_what_is_awaited(tower: Tower) -> None:
    code, findings = doctor(tower)
    assert code == 0
    assert "the first start makes it" in by_check(findings)["directory"][1]
    assert not tower.data.exists()


def test_settings_that_can_not_be_used_are_its_first_and_only_finding(tower: Tower) -> None:
    code, findings = doctor(tower, "--http", "nowhere")
    assert (code, [each["check"] for each in findings]) == (1, ["settings"]), "flags after the first win"


def test_for_people_it_is_a_line_each(used: Tower) -> None:
    used.data.chmod(0o755)
    ran = subprocess.run(
        [
            sys.executable,
            "-m",
            "hmsactd",
            "doctor",
            "--data",
            str(used.data),
            "--grpc",
            used.address,
            "--http",
            used.http,
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0
    lines = ran.stdout.splitlines()
    assert len(lines) == len(CHECKS) + 1
    assert all(line.split()[0] in ("ok", "warn", "FAIL") for line in lines)
    assert next(line for line in lines if " directory " in line).endswith("chmod 700 it")


def _starts(act: Any) -> bool:
    try:
        act.start(name="flow", steps=[Checkpoint("review", role="fsa.officer")])
    except Exception:  # noqa: BLE001 -- whatever it is told
        return False
    return True
