"""Waiting for an operation, in spans that the daemon grants. Shared by both clients; it makes no calls itself."""

from __future__ import annotations

import time

from hmsact.duration import Duration, seconds
from hmsact.errors import HmsactError
from hmsact.watch import Patience

SPAN_S = 60.0


class Waiting:
    """How much of the time to wait is left."""

    def __init__(self, timeout: Duration | float | None) -> None:
        self._patience = Patience()
        self._until = None if timeout is None else time.monotonic() + seconds(timeout)

    def span_s(self) -> float:
        """How long to let the daemon wait this time, in seconds."""
        return SPAN_S if self._until is None else min(SPAN_S, max(self._until - time.monotonic(), 0.001))

    def left_s(self) -> float | None:
        """How much time is left, in seconds; None if there is no end."""
        return None if self._until is None else max(self._until - time.monotonic(), 0.001)

    def is_over(self) -> bool:
        """True if the time is up."""
        return self._until is not None and time.monotonic() >= self._until

    def regained(self) -> None:
        """The daemon has answered."""
        self._patience.regained()

    def lost_s(self, error: HmsactError) -> float:
        """The seconds to wait before the next attempt; raises the error if it does not pass, or there is no time."""
        if self.is_over():
            raise error from None
        return min(self._patience.lost_s(error), self.span_s())
