"""Whoever asks something of the daemon until there is an answer, as the SDK does: same request id, again and again."""

from __future__ import annotations

import asyncio
import random
from typing import Any, Protocol

from grpc import StatusCode

from tests.sim.clock import SimulatedClock
from tests.sim.oracle import Oracle, Promise
from tests.sim.plan import Plan
from tests.sim.tower import Tower
from tests.sim.wire import RpcError, Wire

AGAIN = frozenset(
    (StatusCode.UNAVAILABLE, StatusCode.DEADLINE_EXCEEDED, StatusCode.CANCELLED, StatusCode.RESOURCE_EXHAUSTED)
)
"""After these a request is repeated."""

REFUSALS = frozenset(
    (
        StatusCode.FAILED_PRECONDITION,
        StatusCode.NOT_FOUND,
        StatusCode.ABORTED,
        StatusCode.ALREADY_EXISTS,
        StatusCode.PERMISSION_DENIED,
    )
)
"""Answers of a daemon that is well, to questions that come too late."""

OPERATIONS = "/hmsact.v1.OperationService/"
CHECKPOINTS = "/hmsact.v1.CheckpointService/"
TIMELINES = "/hmsact.v1.TimelineService/"
WORK = "/hmsact.v1.WorkerService/Work"
COMPLETE = "/hmsact.v1.WorkerService/CompleteStep"


class World(Protocol):
    """What everybody in a simulation has around them."""

    plan: Plan
    wire: Wire
    oracle: Oracle
    tower: Tower
    clock: SimulatedClock
    is_calm: bool
    calm_since_us: int | None
    """Since when the daemon is up, and nothing goes wrong."""


class Caller:
    """One caller with chance of their own."""

    def __init__(self, world: World, chance: random.Random, token: str) -> None:
        self.world = world
        self.chance = chance
        self.token = token

    async def ask(self, rpc: str, request: Any, within_s: float = 20) -> Any:
        """Once. Raises RpcError; what nobody may be told is noted."""
        try:
            return await self.world.wire.call(self.chance, rpc, request, self.token, within_s)
        except RpcError as error:
            if error.code not in AGAIN | REFUSALS:
                self.world.oracle.note(f"{rpc} was answered with {error}")
            raise

    async def insist(self, rpc: str, request: Any) -> Any:
        """Until there is an answer; None if it is no."""
        while True:
            try:
                answer = await self.ask(rpc, request)
            except RpcError as error:
                if error.code not in AGAIN:
                    return None
            else:
                self.promised(rpc, request, answer)
                return answer
            await asyncio.sleep(self.chance.uniform(0.1, 1))

    def promised(self, rpc: str, request: Any, answer: Any) -> None:
        """Remember what was said to be recorded."""
        recorded = answer.recorded
        operation = getattr(answer, "operation_id", "") or request.operation_id
        receipt = recorded.receipt
        what = f"{rpc} {request.request_id}"
        self.world.oracle.promises.append(Promise(what, operation, recorded.sequence, receipt.index, receipt.leaf))

    def happens(self, rate: float) -> bool:
        """True if a fault of this rate happens now."""
        return not self.world.is_calm and rate > 0 and self.chance.random() < rate
