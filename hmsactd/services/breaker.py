"""The circuit breaker of a service: after some failures in a row it is left alone, then looked for, then tried.

Pure: told what came of calls and when, it says what may be done. A call belongs to the generation in which it was
begun, so that one of before an outage says nothing about the time after.
"""

from __future__ import annotations

import random
from enum import StrEnum


class BreakerState(StrEnum):
    """How a service is treated."""

    CLOSED = "closed"
    """It is called."""
    HALF_OPEN = "half_open"
    """It answers again: one call at a time finds out if it works."""
    OPEN = "open"
    """It is not called, only looked for."""


class Breaker:
    """Counts failures in a row. Pauses grow twofold from `pause_us` to `pause_max_us`, each shortened by chance."""

    def __init__(self, failures_max: int, pause_us: int, pause_max_us: int, chance: random.Random) -> None:
        self.state = BreakerState.CLOSED
        self.generation = 0
        self.look_at = 0
        """When it is to be looked for next, while it is open."""
        self._failures_max = failures_max
        self._pause_us = pause_us
        self._pause_max_us = pause_max_us
        self._chance = chance
        self._failures = 0
        self._looks = 0

    def heard(self, generation: int, is_reachable: bool, now: int) -> bool:
        """A call has ended; True if that changes the state."""
        if generation != self.generation or self.state is BreakerState.OPEN:
            return False
        if is_reachable:
            self._failures = self._looks = 0
            return self._become(BreakerState.CLOSED)
        self._failures += 1
        if self.state is BreakerState.CLOSED and self._failures < self._failures_max:
            return False
        return self._open(now)

    def looked(self, is_there: bool, now: int) -> bool:
        """It was looked for; True if that changes the state."""
        assert self.state is BreakerState.OPEN, "it is only looked for while it is not called"
        if is_there:
            return self._become(BreakerState.HALF_OPEN)
        return self._open(now)

    def _open(self, now: int) -> bool:
        # Past 30 doublings every cap has been reached.
        pause_us = min(self._pause_us << min(self._looks, 30), self._pause_max_us)
        # Many daemons may call the same service: they should not all come back at once.
        self.look_at = now + pause_us - round(pause_us * self._chance.uniform(0, 0.25))
        self._looks += 1
        return self._become(BreakerState.OPEN)

    def _become(self, state: BreakerState) -> bool:
        if self.state is state:
            return False
        self.state = state
        self.generation += 1
        return True
