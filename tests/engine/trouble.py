"""A store that gets into trouble when a test says so: it fails, or its process dies, at the call that is named."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from enum import StrEnum

from hmsactd.store.errors import Fenced, Unavailable
from hmsactd.store.memory import MemoryStore
from hmsactd.store.store import Batch, Call, Due, EventRow, History, PayloadRow, Position, Queued, QueueSize, RequestRow


class Trouble(StrEnum):
    """What happens at a write."""

    UNAVAILABLE = "it fails before anything is kept"
    KEPT_UNTOLD = "it is kept, and then it fails"
    FENCED = "the first append is said to be another owner's"
    DEATH_BEFORE = "the process dies before anything is kept"
    DEATH_AFTER = "the process dies when all is kept and nobody has heard"


class TroubledStore(MemoryStore):
    """Counts its calls. `at_write` are the writes at which there is trouble, `at_read` the reads that fail."""

    def __init__(self) -> None:
        super().__init__()
        self.writes = self.reads = 0
        self.counted = Counter[str]()
        self.at_write = self.at_read = frozenset[int]()
        self.trouble = Trouble.UNAVAILABLE
        self.is_away = False
        self.is_dead = False
        self.answers = asyncio.Event()
        """While it is cleared, writes get no answer."""
        self.answers.set()
        self.queue_answers = asyncio.Event()
        """While it is cleared, reads of queues get no answer, and then the one of when they were asked."""
        self.queue_answers.set()

    async def write(self, batch: Batch) -> dict[int, Exception]:
        self.writes += 1
        self.counted["write"] += 1
        await self.answers.wait()
        if self.is_away:
            raise Unavailable("the disk is full")
        if self.writes not in self.at_write:
            return await super().write(batch)
        match self.trouble:
            case Trouble.UNAVAILABLE:
                raise Unavailable("the disk is full")
            case Trouble.KEPT_UNTOLD:
                await super().write(batch)
                raise Unavailable("the disk did not answer")
            case Trouble.FENCED:
                return {0: Fenced("another owner has written")}
            case Trouble.DEATH_BEFORE:
                return await self._die()
            case Trouble.DEATH_AFTER:
                await super().write(batch)
                return await self._die()

    async def _die(self) -> dict[int, Exception]:
        self.is_dead = True
        await asyncio.Event().wait()
        raise AssertionError("the dead do not go on")

    def _read(self, what: str) -> None:
        self.reads += 1
        self.counted[what] += 1
        if self.is_away or self.reads in self.at_read:
            raise Unavailable("the disk does not answer")

    async def histories(
        self, places: Sequence[tuple[str, str]], records_max: int, bytes_max: int
    ) -> list[History | None]:
        self._read("histories")
        return await super().histories(places, records_max, bytes_max)

    async def records(
        self,
        namespace: str,
        operation: str,
        *,
        after: int = 0,
        before: int | None = None,
        limit: int = 500,
        backwards: bool = False,
    ) -> list[EventRow]:
        self._read("records")
        return await super().records(namespace, operation, after=after, before=before, limit=limit, backwards=backwards)

    async def payloads(self, namespace: str, operation: str, sequences: Sequence[int]) -> list[PayloadRow]:
        self._read("payloads")
        return await super().payloads(namespace, operation, sequences)

    async def request(self, namespace: str, principal: str, rpc: str, request_id: str) -> RequestRow | None:
        self._read("request")
        return await super().request(namespace, principal, rpc, request_id)

    async def due(self, until: int, limit: int, after: Position | None = None) -> list[Due]:
        self._read("due")
        return await super().due(until, limit, after)

    async def next_due(self) -> int | None:
        self._read("next_due")
        return await super().next_due()

    async def queued(self, namespace: str, svc: str, steps: Sequence[str] | None, limit: int) -> list[Queued]:
        self._read("queued")
        rows = await super().queued(namespace, svc, steps, limit)
        await self.queue_answers.wait()
        return rows

    async def queue_sizes(self) -> list[QueueSize]:
        self.counted["queue_sizes"] += 1
        return await super().queue_sizes()

    async def calls(self, after: tuple[str, str] | None = None, limit: int = 500) -> list[Call]:
        self.counted["calls"] += 1
        return await super().calls(after, limit)
