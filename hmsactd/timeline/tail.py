"""The end of the log in memory, so that many who follow it do not each read the same rows from the store.

Kept only while somebody follows, and bounded in bytes. Whoever is further back reads from the store.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from hmsactd.store.store import Batch, LogRow

BYTES_MAX: Final = 8 * 1024 * 1024
"""Records and leaves that are kept: seconds of a busy daemon. Whoever is further behind costs a page of the store."""

ROW_BYTES: Final = 400
"""What a row costs besides its record."""


class Tail:
    """The last rows of the log, without a gap, and the seals among them."""

    __slots__ = ("_bytes", "_bytes_max", "_rows", "_seals")

    def __init__(self, bytes_max: int = BYTES_MAX) -> None:
        self._bytes_max = bytes_max
        self._bytes = 0
        self._rows: deque[LogRow] = deque()
        self._seals: deque[tuple[int, str]] = deque()

    def __len__(self) -> int:
        return len(self._rows)

    def forget(self) -> None:
        """Keeps nothing: nobody follows, or nobody knows what was written."""
        self._rows.clear()
        self._seals.clear()
        self._bytes = 0

    def grew(self, batch: Batch) -> None:
        """Keeps what was written."""
        if self._rows and self._rows[-1].index + 1 != batch.size_before:
            # It was not looked after for a while.
            self.forget()
        for append in batch.appends:
            for event in append.events:
                self._rows.append(
                    LogRow(event.index, append.namespace, append.operation, event.sequence, event.record, event.leaf)
                )
                self._bytes += len(event.record) + ROW_BYTES
        self._seals.append((batch.size, batch.seal))
        while self._bytes > self._bytes_max and self._rows:
            self._bytes -= len(self._rows.popleft().record) + ROW_BYTES
        while self._seals and (not self._rows or self._seals[0][0] <= self._rows[0].index):
            self._seals.popleft()

    def rows(self, start: int, end: int, bytes_max: int) -> list[LogRow] | None:
        """Returns rows as a store does; None if they do not begin here."""
        if not self._rows or not self._rows[0].index <= start <= self._rows[-1].index:
            return None
        found: list[LogRow] = []
        room, first = bytes_max, self._rows[0].index
        for index in range(start - first, min(end - first, len(self._rows))):
            row = self._rows[index]
            room -= len(row.record)
            if found and room < 0:
                break
            found.append(row)
        return found

    def seal_within(self, after: int, until: int) -> tuple[int, str] | None:
        """Returns the last seal between two sizes; None if it is not here, whether or not there is one."""
        return next(((size, seal) for size, seal in reversed(self._seals) if after < size <= until), None)
