"""Carries a request out once: a repeat gets the first success, a twin waits, a refusal is not remembered.

What became of a request is written by the same append as its events, so that the two can never differ.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from hmsactd.engine.letter import Answer, RequestKey
from hmsactd.errors import AlreadyExists, HmsactdError, ResourceExhausted, Unavailable
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


@value(frozen=True, slots=True)
class Begun:
    """A request under way, or carried out already."""

    namespace: str
    key: RequestKey | None
    told: asyncio.Future[Answer] | Done


Before = Callable[[], Awaitable[Done | HmsactdError | None]]
"""Asked before a request is run: whether it has its answer already, or cannot have one."""


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
        before: Before | None = None,
    ) -> Done:
        """Run a request, unless it has been run before. See `begin`."""
        return await self.finish(await self.begin(namespace, key, run, is_start, before))

    async def begin(
        self,
        namespace: str,
        key: RequestKey | None,
        run: Callable[[], asyncio.Future[Answer]],
        is_start: bool = False,
        before: Before | None = None,
    ) -> Begun:
        """Run a request, unless it has been run before, and return while it is under way: `finish` has the answer.

        `before` may have the answer without running it, or what stands in its way; neither holds for a request that
        was carried out before. A start with nothing in its way is not looked up: a new operation can only fail to be
        recorded because the request has been, and that spares every start a read.
        """
        if key is None:
            return Begun(namespace, None, _standing(await before() if before else None) or run())
        slot = (key.namespace, key.principal, key.rpc, key.request_id)
        while (twin := self._under_way.get(slot)) is not None:
            await twin.wait()
            is_start = False
        self._under_way[slot] = asyncio.Event()
        told: asyncio.Future[Answer] | None = None
        try:
            found = await before() if before else None
            if (found or not is_start) and (row := await self._store.request(*slot)) is not None:
                return Begun(namespace, key, await self._repeated(key, row))
            if (done := _standing(found)) is not None:
                return Begun(namespace, key, done)
            told = run()
            return Begun(namespace, key, told)
        finally:
            # A caller who gives up does not stop what they asked for: its twin waits until that has ended.
            if told is None or told.done():
                self._release(slot)
            else:
                told.add_done_callback(lambda _: self._release(slot))

    async def finish(self, begun: Begun) -> Done:
        """What a request that was begun has led to."""
        told, key = begun.told, begun.key
        if isinstance(told, Done):
            return told
        try:
            # Whoever waits may leave; who runs it is not to be stopped by that.
            answer = told.result() if told.done() else await asyncio.shield(told)
            return await self._done(begun.namespace, answer)
        except (Unavailable, ResourceExhausted):
            # It may have been recorded all the same, now or by an earlier twin.
            row = (
                None
                if key is None
                else await self._store.request(key.namespace, key.principal, key.rpc, key.request_id)
            )
            if key is None or row is None:
                raise
            return await self._repeated(key, row)

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


def _standing(found: Done | HmsactdError | None) -> Done | None:
    """What was found instead of running a request; raises what stands in its way."""
    if isinstance(found, HmsactdError):
        raise found
    return found
