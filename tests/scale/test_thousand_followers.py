"""A thousand followers, a hundred of whom stop reading: they cost the others little and the daemon a bounded amount."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import psutil
import pytest
from hmsact.testing import Daemon

from tests.e2e.raw import OFFICER, Caller, RawWorker, checkpoint, eventually, hello, step
from tests.e2e.scrape import scrape

FOLLOWERS, WATCHERS, STALLED = 500, 400, 100
OPERATIONS = 40
TOGGLES = 160
"""Pauses and resumptions in a round of measuring; an even number for each operation, so that it ends as it began."""
LARGE = 40
"""Outputs of a quarter of a MiB: more than what fits between a daemon that sends and a client that does not read."""

P99_RATIO_MAX = 3.0
"""It is less than double where nothing else runs; a machine that is shared is allowed some noise."""

PER_STALLED_MAX_BYTES = 2 * 1024 * 1024
"""How much the daemon may grow for each stream that nobody reads, all that gRPC keeps within it included."""


class Followers:
    """A process of followers, which does as it is told."""

    def __init__(self, stack: ExitStack, address: str, kind: str, first: int, count: int, *operations: str) -> None:
        command = [sys.executable, "-m", "tests.scale.followers", address, kind, str(first), str(count), *operations]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        stack.enter_context(self._process)
        stack.callback(self._process.kill)

    def heard(self) -> object:
        """Its next line."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "a follower has lost, repeated or reordered an event"
        return json.loads(line)

    def tell(self, command: str) -> object:
        """Its answer to a command."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{command}\n")
        self._process.stdin.flush()
        return self.heard()


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    with Daemon(test_clock=False) as daemon:
        yield daemon


def make_history(daemon: Daemon, operations: list[str]) -> None:
    """Events at a steady pace, on one operation after the other."""
    with Caller(daemon.address, OFFICER) as officer:
        began = time.monotonic()
        for number in range(TOGGLES):
            verb = "resume" if number // len(operations) % 2 else "pause"
            officer.steer(verb, operations[number % len(operations)])
            # A pace, not a wait: events come in as time passes, and not as fast as the daemon takes them.
            time.sleep(max(0.0, began + number / 20 - time.monotonic()))


@pytest.mark.timeout(240)
def test_a_hundred_who_stop_reading_cost_nine_hundred_others_little_and_lose_nothing(
    daemon: Daemon, record_testsuite_property: Callable[[str, object], None]
) -> None:
    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(3))
        developer, act = stack.enter_context(Caller(daemon.address)), stack.enter_context(daemon.orchestrator())
        operations = [developer.start(checkpoint()) for _ in range(OPERATIONS)]
        readers = [
            Followers(stack, daemon.address, "thin", 0, FOLLOWERS),
            Followers(stack, daemon.address, "timelines", 1_000, WATCHERS, *operations),
        ]
        stalled = Followers(stack, daemon.address, "fat", 2_000, STALLED)
        for group in (*readers, stalled):
            assert group.heard() == "ready"
        assert scrape(daemon)["hmsact_event_streams"] == FOLLOWERS + WATCHERS + STALLED

        def have_all() -> bool:
            """True if every reader stands at the end of what it follows."""
            on_timelines = [len(developer.events(operation)) for operation in operations]
            return readers[0].tell("ends") == [act.info().log_size] * FOLLOWERS and (
                readers[1].tell("ends") == [on_timelines[number % OPERATIONS] for number in range(WATCHERS)]
            )

        def measured() -> list[dict[str, float]]:
            for group in readers:
                group.tell("mark")
            make_history(daemon, operations)
            eventually(have_all)
            return list(pool.map(lambda group: group.tell("mark"), readers))

        before = measured()
        stalled.tell("stall")
        process = psutil.Process(daemon.pid)
        rss = process.memory_info().rss
        names = [f"s{number}" for number in range(LARGE)]
        developer.start(*(step(name, svc="Large") for name in names))
        with (
            Caller(daemon.address, "dev:svc/Large") as large,
            RawWorker(large, hello("Large", names)) as worker,
        ):
            for _ in names:
                worker.done(worker.call().attempt, b'"' + b"x" * 250_000 + b'"')
                assert worker.judged() == ("RECORDED", "")
        eventually(have_all)
        after = measured()
        per_stalled = (process.memory_info().rss - rss) / STALLED
        lag = scrape(daemon)["hmsact_follower_lag_events"]
        stalled.tell("read")
        size = act.info().log_size
        eventually(lambda: stalled.tell("ends") == [size] * STALLED, within_s=90)
        eventually(have_all)
    for name, was, became in zip(("followers", "watchers"), before, after, strict=True):
        ratio = became["p99_ms"] / was["p99_ms"]
        record_testsuite_property(f"{name}_p99_ms", [was["p99_ms"], became["p99_ms"], round(ratio, 2)])
        assert became["heard"] == was["heard"]
    record_testsuite_property("bytes_per_stalled_stream", round(per_stalled))
    assert lag > 0, "those who stalled were sent everything: nothing was shown"
    assert per_stalled < PER_STALLED_MAX_BYTES
    for was, became in zip(before, after, strict=True):
        assert became["p99_ms"] < P99_RATIO_MAX * was["p99_ms"]
