"""Killed again and again under load, the daemon tells those who follow everything each event once."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from random import Random

import pytest
from hmsact import EventStream, Orchestrator
from hmsact.testing import Daemon

from tests.crash import record
from tests.crash.test_sigkill import PATIENCE_S, Acknowledged, Agencies, all_are_completed, program, until

HERE = Path(__file__).parent
KILLS = int(os.environ.get("HMSACT_SOAK_KILLS", "4"))


class Reader:
    """Follows on a thread, and writes down what it is told. Begins anew from its cursor now and then."""

    def __init__(self, act: Orchestrator, begins_anew_after: int, **asked: object) -> None:
        self._act = act
        self._asked = asked
        self._begins_anew_after = begins_anew_after
        self._is_over = False
        self._stream: EventStream = self._follow({"from_start": True})
        self.positions: list[int] = []

    def _follow(self, start: dict[str, object]) -> EventStream:
        return self._act.stream(**start, **self._asked)  # type: ignore[arg-type]

    def read(self) -> None:
        while not self._is_over:
            for number, event in enumerate(self._stream, 1):
                assert event.position is not None
                self.positions.append(event.position)
                if number == self._begins_anew_after:
                    break
            if not self._is_over:
                self._stream.close()
                self._stream = self._follow({"after": self._stream.cursor})

    def end(self) -> None:
        self._is_over = True
        self._stream.close()


@pytest.mark.timeout(60 + 10 * KILLS)
def test_followers_see_every_event_once_through_kills_under_load(
    tmp_path: Path, record_testsuite_property: Callable[[str, object], None]
) -> None:
    chance = Random(int(os.environ.get("HMSACT_SOAK_SEED", "20")))
    daemon = Daemon(tmp_path / "data", test_clock=False)
    acknowledged = Acknowledged(tmp_path / "acknowledged")
    with ExitStack() as stack:
        stack.callback(daemon.stop)
        pool = stack.enter_context(ThreadPoolExecutor(4))
        daemon.start()
        act = stack.enter_context(daemon.orchestrator())
        readers = {
            "proved": Reader(act, 10**9, all=True, prove=True),
            "proved anew": Reader(act, 97, all=True, prove=True),
            "plain anew": Reader(act, 53, all=True),
            "filtered": Reader(act, 31, kinds="operation_completed", prove=True),
        }
        for reader in readers.values():
            stack.callback(reader.end)
        reading = [pool.submit(reader.read) for reader in readers.values()]
        Agencies(stack, daemon.address)
        client = stack.enter_context(
            program(str(HERE / "client.py"), daemon.address, str(acknowledged.path), "16", "120")
        )
        until(lambda: acknowledged.count() > 0, "the first start is acknowledged")
        for _ in range(KILLS):
            enough = acknowledged.count() + chance.randint(40, 160)
            until(lambda enough=enough: acknowledged.count() >= enough, "acknowledgements go on")  # type: ignore[misc]
            daemon.kill()
            daemon.start()
        assert client.stdin is not None
        client.stdin.close()
        assert client.wait(PATIENCE_S) == 0
        until(lambda: all_are_completed(act), "every operation completes")
        size, ended = act.info().log_size, act.count(state="completed")
        for (name, reader), task in zip(readers.items(), reading, strict=True):
            # What was sent is not yet seen: a stream hands out one event at a time of those that came together.
            enough = ended if name == "filtered" else size
            until(
                lambda reader=reader, task=task, enough=enough: task.done() or len(reader.positions) >= enough,  # type: ignore[misc]
                f"the {name} reader has seen everything",
            )
            assert not task.done(), task.exception()
        for reader in readers.values():
            reader.end()
        for each in reading:
            each.result(PATIENCE_S)
        assert daemon.stop() == 0
    log = record.read(tmp_path / "data")
    assert len(log.leaves) == size
    everything = list(range(size))
    completed = sorted(told[-1]["index"] for told in log.operations.values())
    for name, reader in readers.items():
        assert reader.positions == (completed if name == "filtered" else everything), name
    record_testsuite_property("followers.events", size)
