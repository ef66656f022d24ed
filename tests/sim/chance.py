"""All chance of a run, from one number. Everybody has a stream of their own, so that one more draw disturbs nobody."""

from __future__ import annotations

import random


class Chance:
    """The streams of one seed."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def of(self, whose: str) -> random.Random:
        """The stream of somebody. The same for the same seed and name, on any machine."""
        return random.Random(f"{self._seed} {whose}")
