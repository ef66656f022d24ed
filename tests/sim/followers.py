"""Those who follow a timeline, or the whole log; are cut off, fall behind, and resume where they stopped."""

from __future__ import annotations

import asyncio
import random
from typing import Any

from hmsact.v1 import operation_pb2, timeline_pb2

from tests.sim.caller import TIMELINES, Caller, World
from tests.sim.oracle import Seen
from tests.sim.wire import RpcError, Stream

LEAF_BYTES = 32
LATE_US_MAX = 1_000_000
FINAL = frozenset(
    (
        operation_pb2.OPERATION_STATE_COMPLETED,
        operation_pb2.OPERATION_STATE_REJECTED,
        operation_pb2.OPERATION_STATE_FAILED,
        operation_pb2.OPERATION_STATE_CANCELLED,
    )
)


class Follower(Caller):
    """Reads streams, each for a while."""

    def __init__(self, world: World, chance: random.Random) -> None:
        super().__init__(world, chance, chance.choice(("", "dev:jdavis@fsa.gov")))
        self._reads_since_us = 0

    async def read(self, rpc: str, request: Any) -> Any:
        """Yields the messages of one stream until it ends, breaks, or is left."""
        try:
            stream: Stream = self.world.wire.stream(rpc, request, self.token)
        except RpcError:
            return
        self._reads_since_us = self.world.clock.now()
        try:
            while (message := await self._next(stream)) is not None:
                yield message
                if self.happens(self.world.plan.cuts):
                    return
                if self.happens(self.world.plan.slow):
                    await asyncio.sleep(self.chance.uniform(0, 5))
                    self._reads_since_us = self.world.clock.now()
        finally:
            stream.hang_up()

    def told_of(self, at_us: int) -> None:
        """An event has come that happened at this time: once all is well, whoever reads on has seen all at once."""
        if self.world.calm_since_us is None:
            return
        late_us = self.world.clock.now() - max(at_us, self.world.calm_since_us, self._reads_since_us)
        if late_us > LATE_US_MAX:
            self.world.oracle.note(f"a follower was told {late_us / 1e6:.1f} s late")

    async def _next(self, stream: Stream) -> Any:
        try:
            return await stream.receive()
        except RpcError:
            return None


class OperationFollower(Follower):
    """Follows one operation after the other, each to its end."""

    async def live(self) -> None:
        while not self.world.is_calm:
            await asyncio.sleep(self.chance.uniform(0.2, 3))
            known = self.world.oracle.operations()
            # What begins once all else has ended would only be in the way of the end.
            if known and not self.world.is_calm:
                await self._follow(self.chance.choice(known))

    async def _follow(self, operation: str) -> None:
        seen = Seen(operation)
        self.world.oracle.seen.append(seen)
        cursor = ""
        while not seen.is_final:
            request = timeline_pb2.WatchOperationRequest(operation_id=operation, after=cursor, with_records=True)
            async for message in self.read(f"{TIMELINES}WatchOperation", request):
                if message.HasField("event"):
                    self.told_of(message.event.time.ToMicroseconds())
                    seen.sequences.append(message.event.sequence)
                    seen.records.append(message.event.record)
                    cursor = message.event.cursor
                else:
                    cursor = message.heartbeat.cursor
                seen.is_final = message.state in FINAL
            await asyncio.sleep(self.chance.uniform(0.05, 1))


class LogFollower(Follower):
    """Follows everything, from the beginning."""

    async def live(self) -> None:
        leaves: dict[int, bytes] = {}
        self.world.oracle.log_seen.append(leaves)
        cursor = ""
        while True:
            start: dict[str, Any] = {"after": cursor} if cursor else {"from_beginning": True}
            request = timeline_pb2.WatchEventsRequest(**start, with_proof=True)
            async for written in self.read(f"{TIMELINES}WatchEvents", request):
                message = timeline_pb2.WatchEventsResponse.FromString(written)
                if message.from_position != len(leaves):
                    self.world.oracle.note(f"a stretch begins at {message.from_position}, not at {len(leaves)}")
                for placed in message.events[:1]:
                    self.told_of(placed.event.time.ToMicroseconds())
                for place in range(message.to_position - message.from_position):
                    leaf = message.leaves[place * LEAF_BYTES : (place + 1) * LEAF_BYTES]
                    leaves[message.from_position + place] = leaf
                cursor = message.cursor
            await asyncio.sleep(self.chance.uniform(0.05, 1))


class StuckFollower(Follower):
    """Opens a stream and reads nothing of it: that is nobody's trouble but its own."""

    async def live(self) -> None:
        request = timeline_pb2.WatchEventsRequest(from_beginning=True, with_records=True)
        while True:
            try:
                stream = self.world.wire.stream(f"{TIMELINES}WatchEvents", request, self.token)
            except RpcError:
                await asyncio.sleep(1)
                continue
            await asyncio.sleep(self.chance.uniform(5, 60))
            stream.hang_up()
