"""Few descriptors, little memory, too many requests: a clear refusal, and a daemon that goes on."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import grpc
import psutil
import pytest
from hmsact import Step
from hmsact.v1 import operation_pb2, operation_pb2_grpc

from tests.faults.test_disk import refused_start
from tests.faults.tower import Tower, until

FLOW = b'{"name": "flow", "steps": [{"step": "ask", "svc": "Nobody"}]}'
MIB = 1024 * 1024


@pytest.fixture
def limited(tmp_path: Path) -> Iterator[Tower]:
    """A daemon to which the test gives limits."""
    tower = Tower(tmp_path / "data")
    yield tower
    tower.kill()


def limits(*said: str) -> list[str]:
    """A command that starts another under limits."""
    return ["sh", "-c", f'ulimit {" && ulimit ".join(said)} && exec "$@"', "sh"]


def test_too_few_descriptors_are_refused_in_a_sentence(limited: Tower) -> None:
    limited.prefix = limits("-n 64")
    assert not limited.begin()
    assert limited.last_words().startswith("hmsactd: the process may open 64 files, and the daemon needs 256")


def test_the_soft_limit_is_raised_to_the_hard_one(limited: Tower) -> None:
    limited.prefix = limits("-n 1024", "-Sn 64")
    limited.start()
    assert psutil.Process(limited.pid).rlimit(psutil.RLIMIT_NOFILE) == (1024, 1024)


@pytest.mark.timeout(60)
def test_connections_beyond_the_limit_wait_and_are_served_when_others_leave(limited: Tower) -> None:
    limited.prefix = limits("-n 256")
    limited.start()
    with ExitStack() as stack:
        for address in (limited.address, limited.http):
            host, _, port = address.rpartition(":")
            for _ in range(300):
                crowd = stack.enter_context(socket.socket())
                crowd.setblocking(False)
                crowd.connect_ex((host, int(port)))
        until(lambda: psutil.Process(limited.pid).num_fds() >= 250, "there is no descriptor left")
    until(limited.is_ready, "it answers again")
    with limited.orchestrator() as act:
        assert act.start(name="flow", steps=[Step("ask", svc="Irs")]).state == "running"
        assert act.count() == 1


@pytest.mark.timeout(60)
def test_more_requests_at_a_time_than_allowed_are_refused_and_nobody_else_is_hurt(limited: Tower) -> None:
    limited.environment["HMSACTD_GRPC__REQUESTS_MAX"] = "20"
    limited.start()

    async def flood() -> Counter[str]:
        async with grpc.aio.insecure_channel(limited.address) as channel:
            stub = operation_pb2_grpc.OperationServiceStub(channel)
            begun = await stub.StartOperation(operation_pb2.StartOperationRequest(definition=FLOW))
            waiting = operation_pb2.WaitOperationRequest(operation_id=begun.operation_id)
            waiting.timeout.FromMilliseconds(2_000)

            async def wait() -> str:
                try:
                    await stub.WaitOperation(waiting)
                except grpc.aio.AioRpcError as refused:
                    return refused.code().name
                return "OK"

            async with asyncio.TaskGroup() as tasks:
                asked = [tasks.create_task(wait()) for _ in range(60)]
            return Counter(task.result() for task in asked)

    answered = asyncio.run(flood())
    assert answered["RESOURCE_EXHAUSTED"] == 40
    assert not refused_start(limited).reason


@pytest.mark.timeout(120)
@pytest.mark.parametrize("how", ["setting", "ulimit"])
def test_a_flood_of_large_starts_is_refused_before_memory_runs_out(limited: Tower, how: str) -> None:
    if how == "setting":
        limited.environment["HMSACTD_ENGINE__MEMORY_MAX_BYTES"] = str(800 * MIB)
    else:
        # Address space: what threads and arenas reserve counts, too.
        limited.prefix = limits(f"-v {1_800 * 1024}")
    # Whatever the speed of the machine, what was started stays in memory until there is too much of it.
    limited.environment["HMSACTD_ENGINE__IDLE"] = "20s"
    limited.start()
    large = b'"' + b"x" * 250_000 + b'"'

    async def flood() -> Counter[str]:
        answered: Counter[str] = Counter()
        async with grpc.aio.insecure_channel(limited.address) as channel:
            stub = operation_pb2_grpc.OperationServiceStub(channel)
            request = operation_pb2.StartOperationRequest(definition=FLOW, input=large)

            async def start() -> None:
                while not answered["RESOURCE_EXHAUSTED"]:
                    try:
                        await stub.StartOperation(request, timeout=60)
                        answered["OK"] += 1
                    except grpc.aio.AioRpcError as refused:
                        answered[refused.code().name] += 1

            async with asyncio.TaskGroup() as tasks:
                for _ in range(200):
                    tasks.create_task(start())
        return answered

    answered = asyncio.run(flood())
    assert set(answered) == {"OK", "RESOURCE_EXHAUSTED"}
    assert limited.is_ready()
    with limited.orchestrator() as act:
        assert act.count() == answered["OK"], "what was acknowledged is there, and nothing else"
    if how == "setting":
        until(lambda: not refused_start(limited).reason, "starts are taken again when memory is free again", 60)
    assert limited.stop() == 0
