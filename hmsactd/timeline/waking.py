"""Reads operations back from the store: whoever asks while others are being read shares the next reading.

Alone, an operation is read at once; when thousands wake together, hundreds share a question. There is no task for it:
the first of those who share a reading does it for all.
"""

from __future__ import annotations

import asyncio
from typing import Final

from hmsactd.store.errors import Unavailable
from hmsactd.store.store import History, Store

TOGETHER_MAX: Final = 128
"""Operations of one reading. Those who asked go on in the same turn of the event loop: some ten milliseconds of it."""

BYTES_MAX: Final = 1024 * 1024
"""What the records of one reading may come to. Most operations have a few hundred bytes; a large flow has half of it."""


class Reading:
    """Operations that are to be read together, and what became of them."""

    __slots__ = ("found", "places")

    def __init__(self) -> None:
        self.places: list[tuple[str, str]] = []
        self.found: asyncio.Future[list[History | None] | Unavailable] = asyncio.get_running_loop().create_future()


class Waking:
    """Reads operations with the first of their records, many at a time."""

    def __init__(self, store: Store, records_max: int) -> None:
        self._store = store
        self._records_max = records_max
        self._next: Reading | None = None
        self._turn = asyncio.Lock()

    async def read(self, namespace: str, operation: str) -> History | None:
        """Returns an operation as it is kept now, or was since this was called; raises Unavailable."""
        while True:
            reading, position = self._join((namespace, operation))
            if position == 0:
                await self._read(reading)
            found = await asyncio.shield(reading.found)
            if isinstance(found, Unavailable):
                # A copy for each: an exception raised in several tasks would gather all their tracebacks.
                raise Unavailable(str(found), found.trouble)
            if position < len(found):
                return found[position]
            # There was no room for it, or whoever read for all has left: it goes with the next.

    def _join(self, place: tuple[str, str]) -> tuple[Reading, int]:
        """Have an operation read with the next ones, and say as which of them."""
        if self._next is None or len(self._next.places) >= TOGETHER_MAX:
            self._next = Reading()
        self._next.places.append(place)
        return self._next, len(self._next.places) - 1

    async def _read(self, reading: Reading) -> None:
        found: list[History | None] | Unavailable = []
        try:
            async with self._turn:
                if self._next is reading:
                    # Whoever asks from here on may have something newer to see.
                    self._next = None
                found = await self._store.histories(reading.places, self._records_max, BYTES_MAX)
        except Unavailable as error:
            found = error
        finally:
            reading.found.set_result(found)
