"""Carries a request out once: a repeat gets the first success, a twin waits, a refusal is not remembered.

What became of a request is written by the same append as its events, so that the two can never differ.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from hmsactd.engine.letter import Answer, RequestKey
from hmsactd.errors import AlreadyExists, ResourceExhausted, Unavailable
from hmsactd.store.store import RequestRow, Store
from hmsactd.timeline.timeline import Receipt, Timelines
from hmsactd.value import value

Slot = tuple[str, str, str, str]


@value(frozen=True, slots=True)
class Done:
    """What a request has led to."""

    operation_id: str
    state: str
    revision: int
    receipt: Receipt
    is_repeated: bool = False


class Requests:
    """The requests under way, and those on the record."""

    def __init__(self, store: Store, timelines: Timelines) -> None:
        self._store = store
        self._timelines = timelines
        self._under_way: dict[Slot, asyncio.Event] = {}

    async def once(
        self,
        namespace: str,
        key: RequestKey | None,
        run: Callable[[], asyncio.Future[Answer]],
        is_start: bool = False,
        before: Callable[[], Awaitable[Done | None]] | None = None,
    ) -> Done:
        """Run a request, unless it has been run before.

        `before` may have the answer without running it, or refuse; it is asked only for a request that is new. A
        start that asks nothing first is not looked up either: a new operation can only fail to be recorded because
        the request has been, and that spares every start a read.
        """
        if key is None:
            if before is None:
                # Nobody but the caller waits for it: it need not outlast them.
                return await self._done(namespace, await run())
            return await before() or await self._done(namespace, await asyncio.shield(run()))
        slot = (key.namespace, key.principal, key.rpc, key.request_id)
        while (twin := self._under_way.get(slot)) is not None:
            await twin.wait()
            is_start = False
        self._under_way[slot] = asyncio.Event()
        told: asyncio.Future[Answer] | None = None
        try:
            if not is_start and (row := await self._store.request(*slot)) is not None:
                return await self._repeated(key, row)
            if before and (done := await before()) is not None:
                return done
            told = run()
            return await self._done(namespace, await asyncio.shield(told))
        except (Unavailable, ResourceExhausted):
            # It may have been recorded all the same, now or by an earlier twin.
            row = await self._store.request(*slot)
            if row is None:
                raise
            return await self._repeated(key, row)
        finally:
            # A caller who gives up does not stop what they asked for: its twin waits until that has ended.
            if told is None or told.done():
                self._release(slot)
            else:
                told.add_done_callback(lambda _: self._release(slot))

    def _release(self, slot: Slot) -> None:
        self._under_way.pop(slot).set()

    async def _done(self, namespace: str, answer: Answer) -> Done:
        receipt = answer.receipt
        if receipt is None:
            receipt = await self._timelines.receipt(namespace, answer.operation_id, answer.operation.sequence)
        return Done(answer.operation_id, answer.operation.state.value, answer.operation.revision, receipt)

    async def _repeated(self, key: RequestKey, row: RequestRow) -> Done:
        if row.digest != key.digest:
            raise AlreadyExists(
                "REQUEST_ID_REUSED",
                f"request id {key.request_id} was used before, for {row.operation}, with different content",
                metadata={"operation_id": row.operation},
            )
        receipt = await self._timelines.receipt(key.namespace, row.operation, row.sequence)
        return Done(row.operation, row.state, row.revision, receipt, is_repeated=True)
