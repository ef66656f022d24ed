"""A bulk start during which the daemon is killed again and again starts every item once, and gives every result."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hmsact import Checkpoint
from hmsact.testing import Daemon

from tests.crash import record

ITEMS, KILLS = 6_000, 5


@pytest.mark.timeout(180)
def test_killed_in_the_middle_of_a_bulk_start_nothing_acknowledged_is_lost_and_nothing_is_started_twice(
    tmp_path: Path,
) -> None:
    daemon = Daemon(tmp_path / "data", test_clock=False)
    daemon.start()
    killers: list[threading.Thread] = []

    def kill() -> None:
        daemon.kill()
        daemon.start()

    def items() -> Iterator[dict[str, object]]:
        for number in range(ITEMS):
            if number % (ITEMS // KILLS) == ITEMS // KILLS // 2:
                # Beside the run, which has some hundred starts under way now.
                killers.append(threading.Thread(target=kill, name=f"kills at {number}"))
                killers[-1].start()
            yield {"input": {"number": number}}

    with daemon.orchestrator() as act:
        key = act.info().verifier_key
        flow = [Checkpoint("review", role="fsa.officer")]
        results = list(act.start_many(items(), name="bulk", steps=flow, request_id="night"))
        for killer in killers:
            killer.join()
        assert len(killers) == KILLS
        assert [result.index for result in results] == list(range(ITEMS))
        assert [str(result.error) for result in results if result.error is not None] == []
        started = [result.operation for result in results if result.operation is not None]
        assert len({operation.id for operation in started}) == ITEMS
        assert act.count() == ITEMS
        for operation in (started[0], started[ITEMS // 2], started[-1]):
            assert act.get(operation.id).input == {"number": started.index(operation)}
        again = list(
            act.start_many(({"input": {"number": n}} for n in range(500)), name="bulk", steps=flow, request_id="night")
        )
        assert [result.operation for result in again] == started[:500]
    assert daemon.stop() == 0
    log = record.read(tmp_path / "data")
    record.check_seal(log, key)
    for operation in started:
        assert operation.recorded is not None
        # What was acknowledged stands where it was said to stand.
        receipt = operation.recorded.receipt
        assert log.leaves[receipt.index].hex() == receipt.leaf
    assert len(log.rows) == ITEMS
