"""The followers of W2: so many streams over all operations, in one process; says how much was delivered to each.

Arguments: address, how many. Prints "ready" when all stand at the head, counts until its standard input ends, and then
prints one JSON line.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

import grpc
from hmsact.v1 import timeline_pb2 as pb

WATCH = "/hmsact.v1.TimelineService/WatchEvents"
CHANNELS = 4
"""Connections that the streams share, as those of a console's server would."""


class Followed:
    """What has come in on all streams. Responses are counted by their positions, which costs little to read."""

    def __init__(self, count: int) -> None:
        self._awaited = count
        self.all_stand = asyncio.Event()
        self.positions = 0
        self.messages = 0
        self.slowest_ms = 0.0

    async def follow(self, channel: grpc.aio.Channel) -> None:
        """One follower, who sees every event."""
        call: Any = channel.unary_stream(
            WATCH,
            request_serializer=pb.WatchEventsRequest.SerializeToString,
            response_deserializer=ends_of,
        )
        async for start, end in call(pb.WatchEventsRequest(), metadata=(("authorization", "Bearer dev:svc/Follower"),)):
            self.positions += end - start
            self.messages += 1
            if start == end:
                self._stands()

    def _stands(self) -> None:
        self._awaited -= 1
        if not self._awaited:
            self.all_stand.set()


def ends_of(message: bytes) -> tuple[int, int]:
    """The first and the last position of a stretch: the first two fields of a message, as varints."""
    start, at = _varint(message, 1, 0x08)
    end, _ = _varint(message, at + 1, 0x10) if message[at : at + 1] == b"\x10" else (0, at)
    return start, end


def _varint(message: bytes, at: int, tag: int) -> tuple[int, int]:
    if message[at - 1] != tag:
        return 0, at - 1
    value = shift = 0
    while True:
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at


async def main(address: str, count: int) -> None:
    """Follow until the standard input ends."""
    is_over = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), is_over.set)
    followed = Followed(count)
    options = [("grpc.use_local_subchannel_pool", 1)]
    channels = [grpc.aio.insecure_channel(address, options) for _ in range(min(CHANNELS, count))]
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(followed.follow(channels[number % len(channels)]), name=f"follower {number}")
            for number in range(count)
        ]
        await followed.all_stand.wait()
        print("ready", flush=True)
        began, positions, messages = time.perf_counter(), followed.positions, followed.messages
        await is_over.wait()
        seconds = time.perf_counter() - began
        delivered, sent = followed.positions - positions, followed.messages - messages
        for task in tasks:
            task.cancel()
    for channel in channels:
        await channel.close()
    figures = {
        "events_per_second_each": round(delivered / count / seconds, 1),
        "events_per_second_all": round(delivered / seconds, 1),
        "messages_per_second": round(sent / seconds, 1),
    }
    print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
