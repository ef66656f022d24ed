"""Followers in one process, which stop reading and go on when they are told to.

Arguments: address, kind ("thin", "fat" or "timelines"), number of the first, how many, and operations to watch. Each
line on standard input is a command, each answered by one line of JSON: "mark" (what has come in since the last one),
"stall", "read", "ends" (where each stands). Whatever is lost, repeated or out of order ends the process with an error.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
from hmsact.v1 import event_pb2, timeline_pb2_grpc
from hmsact.v1 import timeline_pb2 as pb

PER_PRINCIPAL = 100
"""Streams of one principal, on one connection."""


class Group:
    """Followers who share a gate: while it is shut, none reads."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.gate.set()
        self.standing = 0
        self.waits_s: list[float] = []
        self.ends: list[int] = []

    async def read(self, call: Any) -> AsyncIterator[Any]:
        """What comes on a stream while the gate is open."""
        stream = aiter(call)
        while True:
            await self.gate.wait()
            yield await anext(stream)

    def hear(self, event: event_pb2.Event) -> None:
        """Count how long an event has taken to come here."""
        self.waits_s.append(time.time() - event.time.ToMicroseconds() / 1e6)

    async def everything(self, stub: timeline_pb2_grpc.TimelineServiceStub, who: Any, number: int, fat: bool) -> None:
        """Follow all operations: every position of the log comes once, in order."""
        position = -1
        async for message in self.read(stub.WatchEvents(pb.WatchEventsRequest(with_payloads=fat), metadata=who)):
            if position < 0:
                position = message.from_position
                self.standing += 1
            positions = [placed.position for placed in message.events]
            assert message.from_position == position, (number, position, message.from_position)
            assert positions == list(range(position, message.to_position)), (number, position, positions)
            position = self.ends[number] = message.to_position
            for placed in message.events:
                self.hear(placed.event)

    async def timeline(
        self, stub: timeline_pb2_grpc.TimelineServiceStub, who: Any, number: int, operation_id: str
    ) -> None:
        """Follow one operation: every sequence comes once, in order."""
        request = pb.WatchOperationRequest(operation_id=operation_id)
        async for message in self.read(stub.WatchOperation(request, metadata=who)):
            if not self.ends[number]:
                self.standing += 1
            if message.WhichOneof("frame") == "event":
                assert message.event.sequence == self.ends[number] + 1, (number, message.event.sequence)
                self.ends[number] += 1
                self.hear(message.event)


async def main(address: str, kind: str, first: int, count: int, operations: list[str]) -> None:
    """Follow, and do as told."""
    group = Group()
    group.ends = [0] * count
    channels: list[grpc.aio.Channel] = []
    stdin = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stdin), sys.stdin)
    async with asyncio.TaskGroup() as tasks:
        following = []
        for number in range(count):
            if number % PER_PRINCIPAL == 0:
                options = [("grpc.use_local_subchannel_pool", 1)]
                channels.append(grpc.aio.insecure_channel(address, options))
            stub = timeline_pb2_grpc.TimelineServiceStub(channels[-1])
            who = (("authorization", f"Bearer dev:svc/Follower{(first + number) // PER_PRINCIPAL}"),)
            follow = (
                group.timeline(stub, who, number, operations[number % len(operations)])
                if operations
                else group.everything(stub, who, number, kind == "fat")
            )
            following.append(tasks.create_task(follow, name=f"follower {first + number}"))
        while group.standing < count:  # noqa: ASYNC110 -- only until all stand
            await asyncio.sleep(0.05)
        print(json.dumps("ready"), flush=True)
        while command := (await stdin.readline()).decode().strip():
            told: object = command
            match command:
                case "mark":
                    ranked = sorted(group.waits_s)
                    group.waits_s.clear()
                    told = {
                        "heard": len(ranked),
                        "p50_ms": round(1000 * ranked[len(ranked) // 2], 1) if ranked else 0,
                        "p99_ms": round(1000 * ranked[len(ranked) * 99 // 100], 1) if ranked else 0,
                    }
                case "stall":
                    group.gate.clear()
                case "read":
                    group.gate.set()
                case _:
                    told = group.ends
            print(json.dumps(told), flush=True)
        for task in following:
            task.cancel()
    for channel in channels:
        await channel.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5:]))
