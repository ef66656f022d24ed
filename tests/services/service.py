"""A called service in the world of the engine's tests: time stands still but for the test, and a fake is called."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from random import Random

from hmsactd.engine.session import Call
from hmsactd.services.breaker import Breaker
from hmsactd.services.outcome import Done, Failed, Outcome
from hmsactd.services.service import CalledService, PayloadLimits
from hmsactd.settings.called import Called
from tests.engine.world import SPACE, World

LIMITS = PayloadLimits(bytes_max=1024, depth_max=8, words_bytes_max=64)
GONE = Failed("CONNECT_FAILED", "no connection", is_unreachable=True)


class Agency:
    """What is called: does what the test says, or waits until it is told what."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.deadlines: list[int] = []
        self.looks = 0
        self.is_up = True
        self.answer: Callable[[Call], Outcome | Exception | None] = lambda _: Done(b"{}")
        self.is_closed = False
        self._waiting: dict[str, asyncio.Future[Outcome]] = {}
        self.cut_off: list[str] = []

    async def call(self, call: Call, deadline_at: int) -> Outcome:
        self.calls.append(call)
        self.deadlines.append(deadline_at)
        if not self.is_up:
            return GONE
        answer = self.answer(call)
        if isinstance(answer, Exception):
            raise answer
        if answer is not None:
            return answer
        future: asyncio.Future[Outcome]
        future = self._waiting[call.key.operation_id] = asyncio.get_running_loop().create_future()
        try:
            return await future
        except asyncio.CancelledError:
            self.cut_off.append(call.key.operation_id)
            raise

    def answers(self, operation_id: str, outcome: Outcome) -> None:
        self._waiting.pop(operation_id).set_result(outcome)

    async def is_there(self) -> bool:
        self.looks += 1
        return self.is_up

    async def close(self) -> None:
        self.is_closed = True


class Told:
    """What is counted."""

    def __init__(self) -> None:
        self.states: list[str] = []
        self.outcomes: list[str] = []

    def service_became(self, svc: str, state: str) -> None:
        self.states.append(state)

    def service_called(self, svc: str, outcome: str, seconds: float) -> None:
        self.outcomes.append(outcome)


def called(**said: object) -> Called:
    return Called.model_validate({"address": "https://irs.gov/steps"} | said)


def made(world: World, agency: Agency, told: Told, settings: Called) -> CalledService:
    if not settings.steps:
        world.engine.dispatch.serve_every_step(SPACE, "Irs")
    breaker = Breaker(settings.failures_max, settings.pause.us, settings.pause_max.us, Random(7))
    return CalledService("Irs", settings, agency, breaker, world.engine.workers, world.clock, told, LIMITS)


@asynccontextmanager
async def running(service: CalledService) -> AsyncIterator[CalledService]:
    """A service that is called while the context lasts."""
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(service.run(), name="service")
        try:
            yield service
        finally:
            task.cancel()
