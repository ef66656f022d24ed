"""The time: what it is, and waiting for it. Microseconds since the epoch, as everywhere in the daemon.

The core is told the time and never asks; the shell asks one of these.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

import anyio

SLICE_US = 250_000
"""The longest sleep at a stretch. Somebody may set the machine's clock forward, and no sleeper is told; an SLA must be
noticed within a second all the same. Four wakes a second cost nothing, as only few sleep here."""


def real_time() -> int:
    """The machine's time."""
    return time.time_ns() // 1000


def passed_time() -> int:
    """The time that has passed since the machine was started."""
    return time.monotonic_ns() // 1000


class Clock(Protocol):
    """Tells the time and waits for it."""

    def now(self) -> int:
        """Returns the time."""
        ...

    def passed(self) -> int:
        """Returns the time that has passed since some instant: for spans, which nobody lengthens by setting a clock."""
        ...

    async def sleep_until(self, at: int) -> None:
        """Returns once it is `at` or later, also when the clock is moved there.

        If the clock is set back meanwhile it returns when as much time has passed as there was until then: whoever
        slept looks at the clock, and finds that it is earlier than expected.
        """
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> int:
        """Returns the time."""
        return real_time()

    def passed(self) -> int:
        """Returns the time that has passed since the machine was started."""
        return passed_time()

    async def sleep_until(self, at: int) -> None:
        """Returns once it is `at` or later, or as much time has passed."""
        until = self.passed() + at - self.now()
        while (left_us := min(at - self.now(), until - self.passed())) > 0:  # noqa: ASYNC110 -- no event tells of it
            await anyio.sleep(min(left_us, SLICE_US) / 1e6)


class SettableClock:
    """A clock that can be moved forward, for tests. It goes on with `base`, ahead of it by what it was moved."""

    def __init__(self, base: Callable[[], int] = real_time) -> None:
        self._base = base
        self._ahead_us = 0
        self._moved = anyio.Event()

    def now(self) -> int:
        """Returns the time."""
        return self._base() + self._ahead_us

    def passed(self) -> int:
        """Returns the time: to be moved is what it is for."""
        return self.now()

    async def sleep_until(self, at: int) -> None:
        """Returns once it is `at` or later."""
        while (left_us := at - self.now()) > 0:
            with anyio.move_on_after(min(left_us, SLICE_US) / 1e6):
                await self._moved.wait()

    def advance(self, by_us: int) -> int:
        """Moves the clock forward by a span and wakes who waits for a time on the way. Returns the time."""
        if by_us < 0:
            raise ValueError("a clock moves forward only: the record knows no way back")
        self._ahead_us += by_us
        moved, self._moved = self._moved, anyio.Event()
        moved.set()
        return self.now()

    def advance_to(self, at: int) -> int:
        """Moves the clock forward to `at`; it stays where it is if that has passed. Returns the time."""
        return self.advance(max(0, at - self.now()))
