"""Reads sleeping operations back from the store: whoever asks while others are being read shares the next reading.

Alone, an operation is read at once; when thousands wake together, hundreds share a question. There is no task for it:
the first of those who share a reading does it for all.
"""

from __future__ import annotations

import asyncio
from enum import Enum, auto
from typing import Final

from hmsactd.store.errors import Unavailable
from hmsactd.store.store import History, Store

TOGETHER_MAX: Final = 64
"""Operations of one reading. Those who asked go on in the same turn of the event loop: some ten milliseconds of it."""

READINGS_MAX: Final = 2
"""Readings at a time: while one is on its way to its thread and back, those who have got the other go on."""

BYTES_MAX: Final = 1024 * 1024
"""What the records of one reading may come to. Most operations have some kilobytes, a large flow half of it."""


class LeftOut(Enum):
    """Said, inside, to whoever got no answer from a reading: they go with the next."""

    LEFT_OUT = auto()


Read = asyncio.Future[History | None | LeftOut]
Wanted = dict[Read, tuple[str, str]]
"""Who waits for which operation, by namespace and id."""


class Waking:
    """Reads operations with the first of their records, many at a time."""

    def __init__(self, store: Store, records_max: int) -> None:
        self._store = store
        self._records_max = records_max
        self._wanted: Wanted = {}
        self._turns = asyncio.Semaphore(READINGS_MAX)

    async def read(self, namespace: str, operation: str) -> History | None:
        """Returns an operation as it is kept now, or was since this was called; raises Unavailable."""
        while True:
            if len(self._wanted) >= TOGETHER_MAX:
                self._wanted = {}
            wanted, read = self._wanted, Read()
            wanted[read] = (namespace, operation)
            if len(wanted) == 1:
                await self._read(wanted)
            found = await read
            if found is not LeftOut.LEFT_OUT:
                return found

    async def _read(self, wanted: Wanted) -> None:
        """Read for all who have asked by the time that it is their turn."""
        found: list[History | None] = []
        fault: Unavailable | None = None
        try:
            async with self._turns:
                # Whoever asks from here on may have something newer to see.
                self._close(wanted)
                found = await self._store.histories(list(wanted.values()), self._records_max, BYTES_MAX)
        except Unavailable as error:
            fault = error
        finally:
            # Whoever reads for all may have been cancelled, before it was their turn or later.
            self._close(wanted)
            for number, read in enumerate(wanted):
                if read.done():
                    # They have left.
                    continue
                if number < len(found):
                    read.set_result(found[number])
                elif fault is not None:
                    # A copy for each: an exception raised in several tasks would gather all their tracebacks.
                    read.set_exception(Unavailable(str(fault), fault.trouble))
                else:
                    read.set_result(LeftOut.LEFT_OUT)

    def _close(self, wanted: Wanted) -> None:
        if self._wanted is wanted:
            self._wanted = {}
