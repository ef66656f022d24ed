"""Tells whoever waits for the end of an operation that it has come, and how."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

from hmsactd.store.store import Summary


class Ending:
    """One wait for the end of one operation."""

    def __init__(self) -> None:
        self.summary: Summary | None = None
        self._come = asyncio.Event()

    def come(self, summary: Summary) -> None:
        """The operation has ended like this."""
        self.summary = summary
        self._come.set()

    def told(self) -> None:
        """Let whoever waits look, though it may not have come."""
        self._come.set()

    async def changed(self) -> None:
        """Return when it has."""
        await self._come.wait()


class Endings:
    """Everybody who waits, by operation."""

    def __init__(self) -> None:
        self._waiting: dict[tuple[str, str], set[Ending]] = {}

    @contextmanager
    def awaited(self, namespace: str, operation_id: str) -> Iterator[Ending]:
        """Wait from here on. Whoever looks at the operation after this call misses nothing."""
        key, ending = (namespace, operation_id), Ending()
        self._waiting.setdefault(key, set()).add(ending)
        try:
            yield ending
        finally:
            waiting = self._waiting.get(key)
            if waiting is not None:
                waiting.discard(ending)
                if not waiting:
                    del self._waiting[key]

    def come(self, summary: Summary) -> None:
        """An operation has ended."""
        for ending in self._waiting.get((summary.namespace, summary.operation), ()):
            ending.come(summary)
