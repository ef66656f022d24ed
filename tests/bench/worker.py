"""The worker of W1: answers every call at once, in batches, on one stream."""

from __future__ import annotations

import asyncio
import os
import sys

import grpc
from hmsact.v1 import worker_pb2, worker_pb2_grpc

STEPS = ("validate_form", "eligibility_check", "update_balance", "notify")
METADATA = (("authorization", f"Bearer {os.environ.get('HMSACT_TOKEN') or 'dev:svc/Bench'}"),)
OUTPUT = b'{"ok":true,"reference":"FSA-2026-118-4471","checked":["name","loan","employer","consent"]}'


async def main(address: str) -> None:
    """Work until the stream ends."""
    async with grpc.aio.insecure_channel(address) as channel:
        stream = worker_pb2_grpc.WorkerServiceStub(channel).Work(metadata=METADATA)
        hello = worker_pb2.Hello(svc="Bench", steps=STEPS, max_in_flight=4096)
        await stream.write(worker_pb2.WorkRequest(hello=hello))
        done = worker_pb2.Done(output=OUTPUT)
        async for response in stream:
            if response.HasField("welcome"):
                print("ready", flush=True)
            if response.calls:
                reports = [worker_pb2.Report(attempt=call.attempt, done=done) for call in response.calls]
                await stream.write(worker_pb2.WorkRequest(reports=reports))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
