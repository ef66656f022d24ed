"""The stream of a worker as the daemon's other parts see it: bounded, and gone when it is over."""

import asyncio
import gc
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing
from typing import Any, cast

import pytest
from hmsact.v1 import worker_pb2 as pb

from hmsactd.definition.bounds import Bounds
from hmsactd.engine.session import UNANSWERED_MAX
from hmsactd.errors import InvalidArgument, ResourceExhausted
from hmsactd.identity.identity import development
from hmsactd.rpc import workers
from hmsactd.rpc.caller import called_by
from hmsactd.rpc.desk import Desk
from hmsactd.rpc.patience import Patience
from hmsactd.rpc.streams import Streams
from hmsactd.rpc.workers import WorkerServicer
from hmsactd.settings.settings import Settings
from hmsactd.store.memory import MemoryStore
from tests.core.dialogue import service
from tests.engine.world import World, living

HELLO = pb.WorkRequest(hello=pb.Hello(svc="IRS", steps=["check"], max_in_flight=1))
STREAMS_MAX = 3
MESSAGE_MAX_BYTES = 1024 * 1024

Responses = AsyncGenerator[pb.WorkResponse]


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with living(MemoryStore()) as world:
        yield world


@pytest.fixture
def servicer(world: World) -> WorkerServicer:
    nobody: Any = None
    parts = (world.clock, development(), world.store, world.timelines, world.engine, world.requests, nobody)
    return WorkerServicer(Desk(Settings(), Bounds(), *parts), Patience(), Streams(STREAMS_MAX, 1_000))


def working(servicer: WorkerServicer, requests: AsyncIterator[pb.WorkRequest]) -> Responses:
    called_by(service("IRS"))
    return cast("Responses", servicer.Work(requests, cast("Any", None)))


async def saying(*requests: pb.WorkRequest, heard: list[int] | None = None) -> AsyncIterator[pb.WorkRequest]:
    """What a worker says that then stays."""
    for index, request in enumerate(requests):
        if heard is not None:
            heard.append(index)
        yield request
    await asyncio.Event().wait()


def reports(ids: Iterator[str]) -> pb.WorkRequest:
    attempts = (pb.Attempt(operation_id=operation_id, instance=1, attempt=1) for operation_id in ids)
    return pb.WorkRequest(reports=[pb.Report(attempt=attempt, done=pb.Done()) for attempt in attempts])


async def verdicts_of(responses: Responses, count: int) -> list[pb.Verdict]:
    found: list[pb.Verdict] = []
    while len(found) < count:
        response = await anext(responses)
        assert response.ByteSize() <= MESSAGE_MAX_BYTES
        found += response.verdicts
    return found


async def test_reports_of_what_is_no_operation_are_answered_without_asking_one(
    world: World, servicer: WorkerServicer, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    monkeypatch.setattr(world.engine.workers, "_post", lambda *told: asked.append(told))
    flood = reports(f"{number:060}" for number in range(10_000))
    async with aclosing(working(servicer, saying(HELLO, flood))) as responses:
        await anext(responses)
        verdicts = await verdicts_of(responses, 10_000)
    assert {(verdict.kind, verdict.code) for verdict in verdicts} == {(pb.VERDICT_KIND_REFUSED, "OPERATION_UNKNOWN")}
    assert asked == []


async def test_a_worker_is_not_listened_to_while_its_reports_wait_for_an_answer(
    world: World, servicer: WorkerServicer
) -> None:
    heard: list[int] = []
    said = [reports(f"op_{message:013}{number:013}" for number in range(500)) for message in range(10)]
    async with aclosing(working(servicer, saying(HELLO, *said, heard=heard))) as responses:
        await anext(responses)
        first = len((await anext(responses)).verdicts)
        await world.quiet()
        assert len(heard) <= 1 + (first + UNANSWERED_MAX) // 500 + 1
        await verdicts_of(responses, 5_000 - first)
    assert len(heard) == 11


async def test_a_stream_that_is_cut_while_it_sends_cleans_up_at_once(world: World, servicer: WorkerServicer) -> None:
    complaints: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, told: complaints.append(told))
    responses = working(servicer, saying(HELLO, reports(iter(["nonsense"]))))
    await anext(responses)
    await verdicts_of(responses, 1)
    await responses.aclose()
    assert world.engine.dispatch.sessions == {}
    gc.collect()
    await world.quiet()
    assert complaints == []


async def test_who_says_no_hello_in_time_is_told_so(servicer: WorkerServicer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "HELLO_WITHIN_S", 0)
    with pytest.raises(InvalidArgument, match="did not come within 0 s"):
        await anext(working(servicer, saying()))


async def test_the_streams_of_workers_count_as_streams_of_their_principal(servicer: WorkerServicer) -> None:
    streams = [working(servicer, saying(HELLO)) for _ in range(STREAMS_MAX)]
    for stream in streams:
        await anext(stream)
    with pytest.raises(ResourceExhausted, match="streams_per_principal_max"):
        await anext(working(servicer, saying(HELLO)))
    await streams.pop().aclose()
    async with aclosing(working(servicer, saying(HELLO))) as again:
        await anext(again)
    for stream in streams:
        await stream.aclose()
