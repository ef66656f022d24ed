"""Wakes operations whose time has come. Every operation's earliest due time is in the store; nothing else is kept.

So a million sleeping clocks cost no memory, and a restart loads none of them and forgets none of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial

import anyio
import structlog

from hmsactd.clock import Clock
from hmsactd.engine.letter import Answer, Heard
from hmsactd.errors import Unavailable
from hmsactd.store.errors import Unavailable as StoreUnavailable
from hmsactd.store.store import Due, Store

log = structlog.get_logger(__name__)

PAGE = 500
"""Due operations that are read at once."""

WOKEN_MAX = 2_000
"""Operations that are being told: enough to fill the commits. As they have heard, the next page is read."""

LOOK_AT_LEAST_EVERY_US = 60_000_000
"""Even with nothing due the store is asked now and then: a mistake here would otherwise stay for ever."""

AGAIN_AFTER_US = 5_000_000
"""An operation that could not be told that it is due is left alone for so long."""

STILL_DUE_US = 100_000
"""The next look when something is due still after all have been told."""


class Timers:
    """One coroutine that sleeps until something is due. `wake` tells an operation, and says what became of that."""

    def __init__(self, store: Store, clock: Clock, wake: Callable[[Due, Heard], None]) -> None:
        self._store = store
        self._clock = clock
        self._wake = wake
        self._next_at = 0
        self._sooner = asyncio.Event()
        self._being_told = 0
        self._has_heard = asyncio.Event()
        self._left_alone: dict[tuple[str, str], int] = {}

    def expect(self, at: int) -> None:
        """Something will be due at this time."""
        if at < self._next_at:
            self._next_at = at
            self._sooner.set()

    async def wake_now(self) -> None:
        """Wake what is due by now, and return when it has heard: for a clock that was moved by hand."""
        await self._wake_due()

    async def run(self) -> None:
        """Wake what is due, for ever."""
        while True:
            # Whatever asks for an earlier time from here on lowers this again.
            self._next_at = self._clock.now() + LOOK_AT_LEAST_EVERY_US
            try:
                await self._wake_due()
                await self._look_ahead()
            except StoreUnavailable as error:
                log.warning("due operations could not be read", error=str(error))
                self.expect(self._clock.now() + AGAIN_AFTER_US)
            await self._sleep()

    async def _wake_due(self) -> None:
        """Tell everybody who is due by now, the earliest first; return when they have heard."""
        now, after = self._clock.now(), None
        while page := await self._store.due(now, PAGE, after):
            passed = self._clock.passed()
            for one in page:
                if self._left_alone.get((one.namespace, one.operation), 0) <= passed:
                    self._being_told += 1
                    self._wake(one, partial(self._heard, one))
            if len(page) < PAGE:
                break
            # Beyond these, also if they are due still: whoever can't be told must not hide who comes later.
            after = (page[-1].due_at, page[-1].number)
            await self._until_being_told(WOKEN_MAX - PAGE)
        await self._until_being_told(0)

    async def _until_being_told(self, at_most: int) -> None:
        while self._being_told > at_most:
            self._has_heard.clear()
            await self._has_heard.wait()

    def _heard(self, due: Due, outcome: Answer | Exception) -> None:
        self._being_told -= 1
        self._has_heard.set()
        if isinstance(outcome, Exception):
            # Whatever its fault is: the clocks of all others go on.
            if not isinstance(outcome, Unavailable):
                log.warning("a due operation could not be woken", operation=due.operation, error=str(outcome))
            self._left_alone[due.namespace, due.operation] = self._clock.passed() + AGAIN_AFTER_US
            self.expect(self._clock.now() + AGAIN_AFTER_US)

    async def _look_ahead(self) -> None:
        now, passed = self._clock.now(), self._clock.passed()
        self._left_alone = {key: until for key, until in self._left_alone.items() if until > passed}
        next_due = await self._store.next_due()
        if next_due is not None:
            # What is due still was told a moment ago and could do nothing about it; it must not keep us busy.
            self.expect(next_due if next_due > now else now + STILL_DUE_US)

    async def _sleep(self) -> None:
        # Whoever has asked so far has lowered the time already; the flag is for those who ask during the sleep.
        self._sooner.clear()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._until_due, tasks.cancel_scope, name="timers: until due")
            await self._sooner.wait()
            tasks.cancel_scope.cancel()

    async def _until_due(self, scope: anyio.CancelScope) -> None:
        await self._clock.sleep_until(self._next_at)
        scope.cancel()
