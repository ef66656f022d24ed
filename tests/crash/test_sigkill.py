"""Killed again and again under load, the daemon loses nothing that it acknowledged, and everything comes to an end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from random import Random

import pytest
from hmsact import Orchestrator
from hmsact.errors import HmsactError
from hmsact.testing import Daemon
from hmsact.verify import Trust, verify

from tests.crash import record

HERE = Path(__file__).parent
KILLS = int(os.environ.get("HMSACT_SOAK_KILLS", "20"))
ACKNOWLEDGED_PER_SECOND_MIN = 30
"""Below this between readiness and kill the run is void: what is not busy is not under fire. Usual is five times it."""
EXPORTS = 60
STEPS = {"Irs": ("ask", "check"), "Treasury": ("pay",)}
PATIENCE_S = 40.0

Process = subprocess.Popen[bytes]


@contextmanager
def program(*arguments: str, address: str = "") -> Iterator[Process]:
    """A process, killed at the end whatever became of it."""
    environment = os.environ | {"HMSACT_ADDRESS": address}
    with subprocess.Popen(
        [sys.executable, *arguments], stdin=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
    ) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGCONT)
            process.kill()


def until(holds: Callable[[], bool], what: str, within_s: float = PATIENCE_S) -> None:
    gives_up_at = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < gives_up_at, f"{what} within {within_s:.0f} s"
        time.sleep(0.01)


class Acknowledged:
    """What the client has written down."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()

    def count(self) -> int:
        with self.path.open("rb") as file:
            return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))

    def lines(self) -> list[tuple[str, int, bytes]]:
        told = (line.split() for line in self.path.read_text("utf-8").splitlines())
        return [(operation, int(index), bytes.fromhex(leaf)) for operation, index, leaf, _ in told]


class Agencies:
    """Two worker processes of each service, which die and are replaced."""

    def __init__(self, stack: ExitStack, address: str) -> None:
        self._stack = stack
        self._address = address
        self._processes = {name: self._begin(name) for name in ("Irs 1", "Irs 2", "Treasury 1", "Treasury 2")}

    def _begin(self, name: str) -> Process:
        svc = name.split()[0]
        return self._stack.enter_context(program(str(HERE / "agency.py"), svc, *STEPS[svc], address=self._address))

    def kill(self, name: str) -> None:
        self._processes[name].kill()
        self._processes[name].wait(10)
        self._processes[name] = self._begin(name)

    def signal(self, name: str, number: signal.Signals) -> None:
        self._processes[name].send_signal(number)


@pytest.mark.timeout(60 + 6 * KILLS)
def test_nothing_acknowledged_is_lost_by_twenty_kills_under_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record_testsuite_property: Callable[[str, object], None]
) -> None:
    # Workers that were killed for good are given up sooner, so that the test ends sooner.
    monkeypatch.setenv("HMSACTD_WORKERS__GRACE", "3s")
    chance = Random(int(os.environ.get("HMSACT_SOAK_SEED", "20")))
    daemon = Daemon(tmp_path / "data", test_clock=False)
    acknowledged = Acknowledged(tmp_path / "acknowledged")
    busy_s = 0.0
    with ExitStack() as stack:
        stack.callback(daemon.stop)
        daemon.start()
        agencies = Agencies(stack, daemon.address)
        client = stack.enter_context(
            program(str(HERE / "client.py"), daemon.address, str(acknowledged.path), "16", "250")
        )
        until(lambda: acknowledged.count() > 0, "the first start is acknowledged")
        with daemon.orchestrator() as act:
            key = act.info().verifier_key
        before = first = acknowledged.count()
        for number in range(KILLS):
            began, enough = time.monotonic(), before + chance.randint(40, 240)
            until(lambda enough=enough: acknowledged.count() >= enough, "acknowledgements go on")  # type: ignore[misc]
            daemon.kill()
            busy_s += time.monotonic() - began
            before = acknowledged.count()
            if number in (3, 9, 15):
                agencies.kill(chance.choice(("Irs 1", "Treasury 1")))
            if number == 5:
                agencies.signal("Irs 2", signal.SIGSTOP)
            if number == 8:
                agencies.signal("Irs 2", signal.SIGCONT)
            daemon.start()
        rate = (before - first) / busy_s
        assert rate >= ACKNOWLEDGED_PER_SECOND_MIN, f"the run is void: {rate:.0f} acknowledged a second"
        assert client.stdin is not None
        client.stdin.close()
        assert client.wait(PATIENCE_S) == 0, "every start was answered in the end"
        with daemon.orchestrator() as act:
            until(lambda: all_are_completed(act), "every operation completes")
            started = acknowledged.lines()
            for operation, *_ in chance.sample(started, EXPORTS):
                found = verify(act.export(operation), key=key)
                assert (found.operation, found.trust) == (operation, Trust.GIVEN)
        assert daemon.stop() == 0
    log = record.read(tmp_path / "data")
    record.check_seal(log, key)
    happened = record.check_operations(log, steps=3)
    for operation, index, leaf in started:
        # What was acknowledged stands where it was said to stand.
        assert log.leaves[index] == leaf
        assert operation in log.rows
    # Whatever a client insisted on was started once.
    assert len({operation for operation, *_ in started}) == len(started) == len(log.rows)
    figures = {"acknowledged": len(started), "per_second": round(rate), "events": len(log.leaves), **happened}
    for name, figure in figures.items():
        record_testsuite_property(f"sigkill.{name}", figure)
    print(figures)


def all_are_completed(act: Orchestrator) -> bool:
    try:
        return act.count(state="completed") == act.count()
    except HmsactError:
        return False
