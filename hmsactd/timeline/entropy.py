"""Random bytes for salts, nonces and keys, asked of the system a block at a time.

Every call to the system lets go of the interpreter's lock, and under load the database's thread takes it: a small
call then waits for far longer than it lasts. One process, one thread; after a fork the child begins a block of its own.
"""

from __future__ import annotations

import os

BLOCK_BYTES = 8192


class Entropy:
    """Hands out random bytes, each once."""

    __slots__ = ("_block", "_used")

    def __init__(self) -> None:
        self._block = b""
        self._used = 0

    def take(self, count: int) -> bytes:
        """Returns so many random bytes, at most a block."""
        start, end = self._used, self._used + count
        if end > len(self._block):
            self._block, start, end = os.urandom(BLOCK_BYTES), 0, count
        self._used = end
        return self._block[start:end]


random_bytes = Entropy().take
os.register_at_fork(after_in_child=lambda: random_bytes(BLOCK_BYTES))
