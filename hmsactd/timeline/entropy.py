"""Random bytes for salts, nonces and keys, asked of the system a block at a time.

Every call to the system lets go of the interpreter's lock, and under load the database's thread takes it: a small
call then waits for far longer than it lasts. One process, one thread; after a fork the child begins a block of its own.
"""

from __future__ import annotations

import os
from collections.abc import Callable

BLOCK_BYTES = 8192


class Entropy:
    """Hands out random bytes, each once."""

    __slots__ = ("_block", "_draw", "_used")

    def __init__(self) -> None:
        self._draw: Callable[[int], bytes] = os.urandom
        self._block = b""
        self._used = 0

    def take(self, count: int) -> bytes:
        """Returns so many random bytes, at most a block."""
        start, end = self._used, self._used + count
        if end > len(self._block):
            self._block, start, end = self._draw(BLOCK_BYTES), 0, count
        self._used = end
        return self._block[start:end]

    def draw_from(self, draw: Callable[[int], bytes]) -> None:
        """Chance comes from here from now on: a simulation repeats it. Nothing of the block at hand is handed out."""
        self._draw, self._block, self._used = draw, b"", 0


ENTROPY = Entropy()
"""The process's own."""

random_bytes = ENTROPY.take
os.register_at_fork(after_in_child=lambda: random_bytes(BLOCK_BYTES))
