"""A program: starts operations one after the other, and writes down which the daemon acknowledged, and when.

Arguments: the address, the file, how many at a time, how many a second at most, and further fields of each step as
JSON. It insists, with the same request id, until each start is answered, and ends when its standard input does.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
import uuid
from typing import Any

import grpc
from hmsact.v1 import operation_pb2, operation_pb2_grpc

FLOW: dict[str, Any] = {
    "name": "under_fire",
    # Two of the same service in a row: the second is given to the worker that has just reported the first.
    "steps": [
        {"step": "ask", "svc": "Irs", "retry_delay": "100ms"},
        {"step": "check", "svc": "Irs"},
        {"step": "pay", "svc": "Treasury"},
    ],
}
PASSING = (
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.CANCELLED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
)
OPTIONS = [("grpc.initial_reconnect_backoff_ms", 50), ("grpc.max_reconnect_backoff_ms", 200)]


async def main(address: str, path: str, at_a_time: int, per_second: float, further: str = "{}") -> None:
    flow = FLOW | {"steps": [step | json.loads(further) for step in FLOW["steps"]]}
    acknowledged = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    is_over = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), is_over.set)
    async with grpc.aio.insecure_channel(address, OPTIONS) as channel:
        stub = operation_pb2_grpc.OperationServiceStub(channel)

        async def one_after_the_other() -> None:
            while not is_over.is_set():
                request = operation_pb2.StartOperationRequest(
                    definition=json.dumps(flow).encode(), input=b'{"case":17}', request_id=str(uuid.uuid4())
                )
                answer = await insist(stub, request)
                recorded = answer.recorded
                leaf = recorded.receipt.leaf.hex()
                line = f"{answer.operation_id} {recorded.receipt.index} {leaf} {time.monotonic_ns()}\n"
                # A line of its own, whole, with the system before the next start.
                os.write(acknowledged, line.encode())
                await pause(is_over, at_a_time / per_second)

        async with asyncio.TaskGroup() as tasks:
            for number in range(at_a_time):
                tasks.create_task(one_after_the_other(), name=f"client {number}")


async def insist(
    stub: operation_pb2_grpc.OperationServiceAsyncStub, request: operation_pb2.StartOperationRequest
) -> operation_pb2.StartOperationResponse:
    while True:
        try:
            return await stub.StartOperation(request, timeout=5)
        except grpc.aio.AioRpcError as error:
            if error.code() not in PASSING:
                raise
            await asyncio.sleep(0.02)


async def pause(is_over: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await is_over.wait()
    except TimeoutError:
        pass


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), *sys.argv[5:]))
