"""Ten thousand steps are queued and no worker is there: they cost rows, not memory, and none is forgotten."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import psutil
import pytest
from hmsact import Call
from hmsact.testing import Daemon
from hmsact.v1 import operation_pb2, operation_pb2_grpc

from tests.crash import record
from tests.stories.scene import FLOW, SVC, Board, Scene

STEPS = ("ask", "check")
COUNT = 10_000
AT_A_TIME = 100
IN_FLIGHT = 64
STORIES = 20
MIB = 1024 * 1024
GROWTH_MAX_BYTES = 200 * MIB
"""What ten thousand operations may add that were started in a burst, and are still in memory; usual is half of it."""
RECOVERED_MAX_BYTES = 48 * MIB
"""What a daemon may have more than an empty one when it was started on them; usual is a third of it."""

pytestmark = pytest.mark.timeout(120)


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Scene]:
    """A daemon whose data are read when it has stopped."""
    with Daemon(tmp_path / "data") as daemon, daemon.orchestrator() as act:
        yield Scene(daemon, act)


def test_ten_thousand_queued_steps_outlast_a_crash_without_a_worker_and_are_done_once_and_in_order(
    kept: Scene, tmp_path: Path, record_testsuite_property: Callable[[str, object], None]
) -> None:
    scene = kept
    empty_bytes = _memory(scene)
    # Two steps of one service have a queue each, and are drained as if they had one.
    asyncio.run(_start(scene.daemon.address, COUNT))
    queued = Board(queued=COUNT, operations={"running": COUNT})
    scene.shows(queued)
    grown_bytes = _memory(scene) - empty_bytes
    assert grown_bytes < GROWTH_MAX_BYTES
    assert len(scene.listed("--state", "running")) == 50, "a page of them"
    assert scene.hmsact("list", "--state", "running", "--count") == "10,000\n"
    scene.daemon.advance("14m")
    assert 840 <= scene.oldest_queued_s() < 900
    assert scene.hmsact("list", "--alarm", "unattended", "--count") == "0\n"
    scene.daemon.advance("2m")
    unattended = Board(queued=COUNT, unattended=COUNT, operations={"running": COUNT})
    scene.shows(unattended)
    assert scene.hmsact("list", "--alarm", "unattended", "--state", "running", "--count") == "10,000\n"
    scene.serves_others()
    scene.daemon.kill()
    scene.daemon.start()
    recovered_bytes = _memory(scene) - empty_bytes
    assert recovered_bytes < RECOVERED_MAX_BYTES
    scene.shows(unattended)
    assert scene.hmsact("list", "--alarm", "unattended", "--state", "running", "--count") == "10,000\n"
    done: list[int] = []

    async def work(call: Call) -> None:
        done.append(call.input)

    worker = scene.daemon.worker(SVC, max_in_flight=IN_FLIGHT)
    for step in STEPS:
        worker.step(step)(work)
    with scene.daemon.serving(worker):
        # Whoever comes last is done last, however short its own queue is.
        asyncio.run(_start(scene.daemon.address, 1, first=COUNT))
        scene.serves_others()
        newcomer, *_ = scene.act.operations(name=FLOW, limit=1)
        newcomer.wait("60s")
        completed = {"completed": COUNT + 1}
        scene.shows(Board(workers=1, attempts={"done": COUNT + 1}, operations=completed))
    assert sorted(done) == list(range(COUNT + 1)), "each was done, and none twice"
    assert scene.listed("--state", "running") == scene.listed("--alarm", "unattended") == []
    assert scene.hmsact("list", "--name", FLOW, "--state", "completed", "--count") == "10,001\n"
    for operation in scene.act.operations(name=FLOW, until=newcomer.start_time, limit=STORIES):
        assert scene.story(operation) == [
            "operation_started",
            "unattended",
            "step_started 1 by svc/Irs",
            "step_done 1 by svc/Irs",
            "operation_completed",
        ]
    key = scene.act.info().verifier_key
    assert scene.daemon.stop() == 0
    log = record.read(tmp_path / "data")
    record.check_seal(log, key)
    happened = record.check_operations(log, steps=1)
    assert happened["step_started"] == happened["step_done"] == happened["operation_completed"]
    assert happened["unattended"] == COUNT
    _check_order(log)
    figures = {"growth_mib": grown_bytes // MIB, "recovered_mib": recovered_bytes // MIB}
    for name, figure in figures.items():
        record_testsuite_property(f"ten_thousand_queued.{name}", figure)
    print(figures)


def _check_order(log: record.Log) -> None:
    """Steps were begun in the order in which they were queued, but for those that were on their way side by side."""
    begun = [
        told["index"]
        for records in log.operations.values()
        for told in records
        if told["kind"] == "step_started" and told["subject"]["name"] in STEPS
    ]
    order = sorted(range(len(begun)), key=begun.__getitem__)
    displaced = max(abs(place - number) for place, number in enumerate(order))
    assert displaced <= AT_A_TIME + 2 * IN_FLIGHT


async def _start(address: str, count: int, first: int = 0) -> None:
    """Starts operations of one step, many at a time; each has its number as input."""
    numbers = iter(range(first, first + count))
    async with grpc.aio.insecure_channel(address) as channel:
        stub = operation_pb2_grpc.OperationServiceStub(channel)

        async def start() -> None:
            for number in numbers:
                steps = [{"step": STEPS[number % 2], "svc": SVC}]
                request = operation_pb2.StartOperationRequest(
                    definition=json.dumps({"name": FLOW, "steps": steps}).encode(), input=json.dumps(number).encode()
                )
                await stub.StartOperation(request, timeout=60)

        async with asyncio.TaskGroup() as tasks:
            for number in range(AT_A_TIME):
                tasks.create_task(start(), name=f"client {number}")


def _memory(scene: Scene) -> int:
    return int(psutil.Process(scene.daemon.pid).memory_info().rss)
