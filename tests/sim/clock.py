"""The machine's clock in virtual time. Somebody may set it, forward or back, and no sleeper is told at once."""

from __future__ import annotations

import asyncio
import random

from hmsactd.clock import SLICE_US

EPOCH = 1_767_603_600_000_000
"""When every simulation begins: 5 January 2026, 9:00 UTC."""

SECOND = 1_000_000


class SimulatedClock:
    """As `hmsactd.clock.SystemClock`; only that it wakes when it has to, and not four times a second to look."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._ahead_us = 0
        self._sleepers: dict[asyncio.Future[None], None] = {}

    def now(self) -> int:
        return EPOCH + self.passed() + self._ahead_us

    def passed(self) -> int:
        return round(asyncio.get_running_loop().time() * SECOND)

    async def sleep_until(self, at: int) -> None:
        until = self.passed() + at - self.now()
        while (left_us := min(at - self.now(), until - self.passed())) > 0:
            loop = asyncio.get_running_loop()
            woken = loop.create_future()
            timer = loop.call_later(left_us / SECOND, _wake, woken)
            self._sleepers[woken] = None
            try:
                await woken
            finally:
                timer.cancel()
                del self._sleepers[woken]

    def set_by(self, by_us: int) -> None:
        """Somebody sets the clock. Sleepers see it within the time in which `SystemClock` looks."""
        self._ahead_us += by_us
        for sleeper in self._sleepers:
            seen_after_us = self._chance.randrange(SLICE_US)
            asyncio.get_running_loop().call_later(seen_after_us / SECOND, _wake, sleeper)


def _wake(sleeper: asyncio.Future[None]) -> None:
    if not sleeper.done():
        sleeper.set_result(None)
