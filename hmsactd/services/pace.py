"""How fast a service is called: a token bucket, which can be shut for a while. Pure: time is told."""

from __future__ import annotations

import math

BURST_S = 0.1
"""How long unused calls are saved up for: in no second are there more calls than a tenth above the rate."""

UNLIMITED = 1_000_000_000


class Pace:
    """So many calls a second; without a rate, any number. `spend` one for each call."""

    def __init__(self, rate: float | None) -> None:
        self._rate = rate
        self._most = max(1.0, rate * BURST_S) if rate is not None else 0.0
        self._tokens = self._most
        self._counted_at = 0
        self._shut_until = 0

    def room(self, now: int) -> int:
        """How many calls may begin now."""
        if now < self._shut_until:
            return 0
        if self._rate is None:
            return UNLIMITED
        self._fill(now)
        return math.floor(self._tokens)

    def spend(self, now: int) -> None:
        """A call begins. It may do so although there is no room: it was promised when there was."""
        if self._rate is not None:
            self._fill(now)
            self._tokens -= 1

    def shut(self, until: int) -> None:
        """No call begins before."""
        self._shut_until = max(self._shut_until, until)

    def room_at(self, now: int) -> int:
        """When a call may begin: now, or later."""
        if self._rate is None:
            return max(now, self._shut_until)
        self._fill(now)
        # Rounded up, and one more: at that time there must be a whole token, whatever floats make of it.
        wait_us = math.ceil(max(0.0, 1 - self._tokens) / self._rate * 1e6)
        return max(now + wait_us + (1 if wait_us else 0), self._shut_until)

    def _fill(self, now: int) -> None:
        assert self._rate is not None
        if self._counted_at:
            passed_s = max(0, now - self._counted_at) / 1e6
            self._tokens = min(self._most, self._tokens + passed_s * self._rate)
        self._counted_at = max(now, self._counted_at)
