"""The client of the bulk benchmark: starts travel in batches on one stream, completions on another.

Arguments: address, and either "start" COUNT, or "flow" IN_FLIGHT SECONDS, or "drain" COUNT, which prints "ready" and
then waits for so many ends. Prints one JSON line.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
import uuid
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
from hmsact.v1 import operation_pb2 as pb
from hmsact.v1 import operation_pb2_grpc, timeline_pb2, timeline_pb2_grpc

from tests.bench.client import FLOW, INPUT

BATCH = 250
BATCHES_AHEAD = 4
DEFINITION, GIVEN = json.dumps(FLOW).encode(), json.dumps(INPUT).encode()
ENDS = timeline_pb2.WatchEventsRequest(filter=timeline_pb2.EventFilter(kinds=["operation_completed"]))


def batch(number: int, size: int) -> pb.StartOperationsRequest:
    """A batch whose definition was said with the first."""
    starts = [pb.StartOperationRequest(input=GIVEN, request_id=str(uuid.uuid4())) for _ in range(size)]
    return pb.StartOperationsRequest(batch=number, definition=b"" if number else DEFINITION, starts=starts)


@asynccontextmanager
async def bystander(stub: operation_pb2_grpc.OperationServiceAsyncStub, waits_s: list[float]) -> AsyncIterator[None]:
    """Somebody else meanwhile, who starts one operation after the other with a pause between."""

    async def stand_by() -> None:
        while True:
            begun = time.perf_counter()
            await stub.StartOperation(pb.StartOperationRequest(definition=ALONE, input=GIVEN))
            waits_s.append(time.perf_counter() - begun)
            await asyncio.sleep(0.02)

    task = asyncio.get_running_loop().create_task(stand_by(), name="bystander")
    try:
        yield
    finally:
        task.cancel()


ALONE = json.dumps({"name": "alone", "steps": [{"checkpoint": "review", "role": "fsa.officer"}]}).encode()


def of(taken_s: list[float], part: float) -> float:
    """A percentile in milliseconds."""
    ranked = sorted(taken_s)
    return round(1000 * ranked[min(int(len(ranked) * part), len(ranked) - 1)], 1) if ranked else 0.0


async def start(stub: operation_pb2_grpc.OperationServiceAsyncStub, count: int) -> dict[str, float]:
    """Start so many, as fast as they are acknowledged."""
    stream, sent, answered = stub.StartOperations(), 0, 0
    sent_at: deque[float] = deque()
    batch_s: list[float] = []
    waits_s: list[float] = []
    began = time.perf_counter()
    async with bystander(stub, waits_s):
        number = 0
        while answered < count:
            while sent < count and len(sent_at) < BATCHES_AHEAD:
                size = min(BATCH, count - sent)
                sent_at.append(time.perf_counter())
                await stream.write(batch(number, size))
                number, sent = number + 1, sent + size
            response = await stream.read()
            assert isinstance(response, pb.StartOperationsResponse)
            assert all(result.HasField("started") for result in response.results), response.results
            answered += len(response.results)
            batch_s.append(time.perf_counter() - sent_at.popleft())
    taken_s = time.perf_counter() - began
    return {
        "starts": count,
        "starts_per_second": round(count / taken_s, 1),
        "batch_p99_ms": of(batch_s, 0.99),
        "bystander_p50_ms": of(waits_s, 0.5),
        "bystander_p99_ms": of(waits_s, 0.99),
    }


async def drain(channel: grpc.aio.Channel, count: int) -> dict[str, float]:
    """Wait for so many ends."""
    ended, began, waits_s, is_ready = 0, 0.0, list[float](), False
    stub = operation_pb2_grpc.OperationServiceStub(channel)
    async with bystander(stub, waits_s):
        async for response in timeline_pb2_grpc.TimelineServiceStub(channel).WatchEvents(ENDS):
            if not is_ready:
                is_ready = True
                print("ready", flush=True)
            if response.events:
                began = began or time.perf_counter()
                ended += len(response.events)
            if ended >= count:
                break
    taken_s = time.perf_counter() - began
    return {
        "operations": count,
        "operations_per_second": round(count / taken_s, 1),
        "bystander_p50_ms": of(waits_s, 0.5),
        "bystander_p99_ms": of(waits_s, 0.99),
    }


async def flow(channel: grpc.aio.Channel, in_flight: int, seconds: float) -> dict[str, float]:
    """Keep so many in flight: whatever ends is replaced by as many starts."""
    stub = operation_pb2_grpc.OperationServiceStub(channel)
    ends = aiter(timeline_pb2_grpc.TimelineServiceStub(channel).WatchEvents(ENDS))
    await anext(ends)
    stream, started_at = stub.StartOperations(), dict[str, float]()
    began = time.perf_counter()
    counted_from, until = began + seconds * 0.2, began + seconds * 1.2
    sent_at: list[float] = []
    taken_s: list[float] = []
    early: set[str] = set()

    async def hear() -> None:
        async for response in stream:
            at = sent_at[response.batch]
            for result in response.results:
                operation_id = result.started.operation_id
                if operation_id in early:
                    early.discard(operation_id)
                else:
                    started_at[operation_id] = at

    async def send(count: int) -> None:
        for begun in range(0, count, BATCH):
            await stream.write(batch(len(sent_at), min(BATCH, count - begun)))
            sent_at.append(time.perf_counter())

    hearing = asyncio.get_running_loop().create_task(hear(), name="hears results")
    await send(in_flight)
    async for response in ends:
        now = time.perf_counter()
        for placed in response.events:
            at = started_at.pop(placed.event.operation_id, None)
            if at is None:
                # Ended before its start was answered.
                early.add(placed.event.operation_id)
                at = now
            if counted_from <= now < until:
                taken_s.append(now - at)
        if now >= until:
            break
        if response.events:
            await send(len(response.events))
    hearing.cancel()
    return {
        "in_flight": in_flight,
        "operations_per_second": round(len(taken_s) / seconds, 1),
        "p50_ms": of(taken_s, 0.5),
        "p99_ms": of(taken_s, 0.99),
    }


async def main(address: str, what: str, *said: str) -> None:
    """Do what was asked for, and print what it came to."""
    options = [("grpc.max_receive_message_length", 64 * 1024 * 1024)]
    async with grpc.aio.insecure_channel(address, options) as channel:
        match what:
            case "start":
                figures = await start(operation_pb2_grpc.OperationServiceStub(channel), int(said[0]))
            case "drain":
                figures = await drain(channel, int(said[0]))
            case _:
                figures = await flow(channel, int(said[0]), float(said[1]))
    print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
