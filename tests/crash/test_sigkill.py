"""Killed again and again under load, the daemon loses nothing that it acknowledged, and everything comes to an end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from random import Random

import pytest
from hmsact import Orchestrator
from hmsact.errors import HmsactError
from hmsact.testing import Daemon
from hmsact.verify import Trust, verify

from tests.crash import record
from tests.crash.line import Line

HERE = Path(__file__).parent
KILLS = int(os.environ.get("HMSACT_SOAK_KILLS", "20"))
ACKNOWLEDGED_PER_SECOND_MIN = 100
"""Below this between the first answer and the kill a kill is void, and repeated: what is not busy is not under fire."""
VOID_MAX = KILLS // 2
"""With more void kills than this the run is void: the machine is too busy for it."""
EXPORTS = 10 * KILLS
CLIENTS = ("32", "400")
"""How many ask at a time, and how many starts a second they want together."""
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
    """Two worker processes of each service, which die and are replaced; the second of each is on a line that fails."""

    def __init__(self, stack: ExitStack, address: str) -> None:
        self._stack = stack
        self._address = address
        self._lines = {svc: stack.enter_context(Line(address)) for svc in STEPS}
        self._processes = {f"{svc} {number}": self._begin(svc, number) for svc in STEPS for number in (1, 2)}

    def _begin(self, svc: str, number: int) -> Process:
        address = self._address if number == 1 else self._lines[svc].address
        return self._stack.enter_context(program(str(HERE / "agency.py"), svc, *STEPS[svc], address=address))

    def suffer(self, moment: int) -> None:
        """What happens to them at a moment, of twenty that come again and again."""
        irs, treasury = self._lines["Irs"], self._lines["Treasury"]
        match moment % 20:
            case 3 | 15:
                self._replace("Irs", 1)
            case 9:
                self._replace("Treasury", 1)
            case 5:
                self._processes["Irs 2"].send_signal(signal.SIGSTOP)
            case 8:
                self._processes["Irs 2"].send_signal(signal.SIGCONT)
            case 1 | 7 | 11:
                treasury.cut()
            case 10:
                treasury.hold()
            case 14:
                treasury.let_go()
            case 12:
                irs.slow_down(0.1)
            case 16:
                irs.slow_down(0)
            case 17:
                irs.hold()
            case 18:
                # Both sides have waited on a connection that is no more.
                irs.cut()
                irs.let_go()
            case _:
                pass

    def recover(self) -> None:
        """All is well with them from here on."""
        self._processes["Irs 2"].send_signal(signal.SIGCONT)
        for line in self._lines.values():
            line.slow_down(0)
            line.let_go()

    def _replace(self, svc: str, number: int) -> None:
        name = f"{svc} {number}"
        self._processes[name].kill()
        self._processes[name].wait(10)
        self._processes[name] = self._begin(svc, number)


def rate_until(acknowledged: Acknowledged, more: int) -> float:
    """Returns once so many more are acknowledged; at how many a second, since the first of them was."""
    before = acknowledged.count()
    until(lambda: acknowledged.count() > before, "starts are acknowledged")
    first, began = acknowledged.count(), time.monotonic()
    until(lambda: acknowledged.count() >= first + more, "acknowledgements go on")
    return (acknowledged.count() - first) / (time.monotonic() - began)


@pytest.mark.timeout(120 + 8 * KILLS)
def test_nothing_acknowledged_is_lost_by_twenty_kills_under_load(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record_testsuite_property: Callable[[str, object], None]
) -> None:
    # Workers that were killed for good are given up sooner, so that the test ends sooner.
    monkeypatch.setenv("HMSACTD_WORKERS__GRACE", "3s")
    chance = Random(int(os.environ.get("HMSACT_SOAK_SEED", "20")))
    daemon = Daemon(tmp_path / "data", test_clock=False)
    acknowledged = Acknowledged(tmp_path / "acknowledged")
    rates: list[float] = []
    void: list[float] = []
    with ExitStack() as stack:
        stack.callback(daemon.stop)
        daemon.start()
        agencies = Agencies(stack, daemon.address)
        client = stack.enter_context(program(str(HERE / "client.py"), daemon.address, str(acknowledged.path), *CLIENTS))
        until(lambda: acknowledged.count() > 0, "the first start is acknowledged")
        with daemon.orchestrator() as act:
            key = act.info().verifier_key
        while len(rates) < KILLS:
            rate = rate_until(acknowledged, chance.randint(40, 240))
            daemon.kill()
            (rates if rate >= ACKNOWLEDGED_PER_SECOND_MIN else void).append(rate)
            assert len(void) <= VOID_MAX, f"the run is void: {[round(rate) for rate in void]} acknowledged a second"
            agencies.suffer(len(rates) + len(void) - 1)
            daemon.start()
        agencies.recover()
        assert client.stdin is not None
        client.stdin.close()
        assert client.wait(PATIENCE_S) == 0, "every start was answered in the end"
        with daemon.orchestrator() as act:
            until(lambda: all_are_completed(act), "every operation completes", PATIENCE_S + KILLS)
            started = acknowledged.lines()
            check_exports(act, key, chance.sample(started, min(EXPORTS, len(started))))
        assert daemon.stop() == 0
    log = record.read(tmp_path / "data")
    happened = check_kept(log, key, started)
    figures = {
        "kills": len(rates),
        "void": len(void),
        "acknowledged": len(started),
        "per_second_min": round(min(rates)),
        "per_second": round(sum(rates) / len(rates)),
        "events": len(log.leaves),
        **happened,
    }
    for name, figure in figures.items():
        record_testsuite_property(f"sigkill.{name}", figure)
    print(figures)


def check_exports(act: Orchestrator, key: str, started: Sequence[tuple[str, int, bytes]]) -> None:
    """Their exports verify, with the daemon's key."""
    for operation, *_ in started:
        found = verify(act.export(operation), key=key)
        assert (found.operation, found.trust) == (operation, Trust.GIVEN)


def check_kept(log: record.Log, key: str, started: Sequence[tuple[str, int, bytes]]) -> Counter[str]:
    """What was acknowledged stands where it was said to, once, and all is complete. Returns what has happened."""
    record.check_seal(log, key)
    happened = record.check_operations(log, steps=3)
    for operation, index, leaf in started:
        assert log.leaves[index] == leaf
        assert operation in log.rows
    # Whatever a client insisted on was started once.
    assert len({operation for operation, *_ in started}) == len(started) == len(log.rows)
    return happened


def all_are_completed(act: Orchestrator) -> bool:
    try:
        return act.count(state="completed") == act.count()
    except HmsactError:
        return False
