"""So many clocks that run out within one second: each once, none before its time, the last soon."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import pytest
from hmsact import Checkpoint, Orchestrator
from hmsact.testing import Daemon

CLOCKS = int(os.environ.get("HMSACT_SOAK_CLOCKS", "10000"))
STARTS_PER_SECOND_MIN = 700
"""At most so slow may a machine be at starting them, or the first clock runs out before the last is started."""

LATE_MAX_S = 10.0
CLOCK_GRAIN_S = 1e-5
"""Events are dated in microseconds, which a float of seconds since 1970 holds only so well."""


def starts(due_at: float, spans_s: list[float]) -> Iterator[dict[str, object]]:
    """Starts whose clocks all run out at a time, whenever they are begun: each has so long as is left until then."""
    for _ in range(CLOCKS):
        # In tenths of a second, so that there are some hundred flows and not one for every start.
        spans_s.append(round(due_at - time.time(), 1))
        assert spans_s[-1] > 1, "the machine starts them more slowly than the test foresees"
        yield {"sla": f"{round(spans_s[-1] * 1000)}ms"}


def times(act: Orchestrator, kind: str) -> list[tuple[str, float]]:
    """Operations, and when an event of a kind was recorded of each."""
    events = act.stream(from_start=True, kinds=kind, follow=False)
    return [(event.operation_id, event.time.timestamp()) for event in events]


@pytest.mark.timeout(90 + CLOCKS // 100)
def test_clocks_that_run_out_in_one_second_fire_once_each_never_early_and_the_last_within_ten_seconds(
    tmp_path: Path, record_testsuite_property: Callable[[str, object], None]
) -> None:
    with Daemon(tmp_path / "data", test_clock=False) as daemon, daemon.orchestrator() as act:
        due_at, spans_s = time.time() + 5 + CLOCKS / STARTS_PER_SECOND_MIN, list[float]()
        flow = [Checkpoint("review", role="fsa.officer")]
        results = act.start_many(starts(due_at, spans_s), name="flow", steps=flow)
        started = [result.operation.id for result in results if result.operation is not None]
        assert len(started) == CLOCKS
        # Told as they fire; what is looked at is the record, once there are as many as clocks.
        with act.stream(from_start=True, kinds="sla_breach") as stream:
            assert sum(1 for _ in islice(stream, CLOCKS)) == CLOCKS
        began, fired = dict(times(act, "operation_started")), times(act, "sla_breach")
    due = {operation: began[operation] + span_s for operation, span_s in zip(started, spans_s, strict=True)}
    assert Counter(operation for operation, _ in fired) == Counter(started)
    assert [operation for operation, at in fired if at < due[operation] - CLOCK_GRAIN_S] == []
    within_s = max(due.values()) - min(due.values())
    late_s = max(at for _, at in fired) - max(due.values())
    figures = {"clocks": CLOCKS, "due_within_s": round(within_s, 2), "last_late_s": round(late_s, 2)}
    record_testsuite_property("due_together", figures)
    assert late_s < LATE_MAX_S
