"""How long to wait before trying again: longer each time, never in step with others, never for ever."""

from __future__ import annotations

import random
from collections.abc import Iterator

_chance = random.SystemRandom()


def delays_s(first_s: float = 0.1, longest_s: float = 5.0) -> Iterator[float]:
    """The pauses between attempts, in seconds, without end: doubled each time, each cut by up to a half by chance."""
    delay_s = first_s
    while True:
        yield delay_s * _chance.uniform(0.5, 1.0)
        delay_s = min(delay_s * 2, longest_s)
