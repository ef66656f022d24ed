"""Notices when somebody sets the machine's clock: it then goes on by another span than the one that has passed.

Durations are measured by the clock that nobody can set. Due times are kept as dates, because they must outlast a
restart, so that they follow the clock wherever it is set: if it is right now, that is right.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from hmsactd.clock import passed_time, real_time

JUMP_US: Final = 1_000_000
"""A smaller difference is the usual correction by NTP, which slows or hastens the clock by less than 1 in 1,000."""


class Jumps:
    """Compares the two clocks of the machine whenever it is asked."""

    def __init__(self, wall: Callable[[], int] = real_time, passed: Callable[[], int] = passed_time) -> None:
        self._wall = wall
        self._passed = passed
        self._ahead = self._difference()

    def look(self) -> int:
        """By how much the clock was set since it was asked last, in microseconds; 0 if it was not."""
        ahead = self._difference()
        by = ahead - self._ahead
        self._ahead = ahead
        return by if abs(by) >= JUMP_US else 0

    def _difference(self) -> int:
        return self._wall() - self._passed()
