"""Time that jumps to whatever is due next as soon as nobody has anything left to do, and SQLite without its threads.

With both, a life of many seconds takes milliseconds, and the k-th write is the same one every time.
"""

from __future__ import annotations

import asyncio
import selectors
import sqlite3
from collections.abc import Callable
from typing import TypeVar

from tests.engine.world import EPOCH, StillClock

Result = TypeVar("Result")


class _Selector(selectors.DefaultSelector):
    """Waits for nothing: what would have been waited for has passed at once."""

    def __init__(self, now_s: float) -> None:
        super().__init__()
        self.now_s = now_s

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        assert timeout is not None, "nothing will ever happen any more"
        self.now_s += max(timeout, 0)
        return super().select(0)


class JumpingLoop(asyncio.SelectorEventLoop):
    """A loop whose time passes when it has nothing to do."""

    def __init__(self, now_s: float = 0) -> None:
        self._time = _Selector(now_s)
        super().__init__(self._time)

    def time(self) -> float:
        """Returns the seconds that have passed, and those that it began with."""
        return self._time.now_s


class JumpingClock(StillClock):
    """The time of the running loop, as a date."""

    def now(self) -> int:
        return EPOCH + round(asyncio.get_running_loop().time() * 1_000_000)

    def passed(self) -> int:
        return self.now()

    async def sleep_until(self, at: int) -> None:
        while (left_us := at - self.now()) > 0:  # noqa: ASYNC110 -- no event tells of it
            await asyncio.sleep(left_us / 1_000_000)


class InlineConnection:
    """Stands in for hmsactd.store.errand.ErrandConnection: what is sent is done before anybody else goes on."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    @classmethod
    async def connect(cls, uri: str, *, mode: str) -> InlineConnection:
        return cls(sqlite3.connect(f"{uri}?mode={mode}", uri=True, isolation_level=None, cached_statements=256))

    async def run(self, work: Callable[[sqlite3.Connection], Result]) -> Result:
        result = work(self._connection)
        await asyncio.sleep(0)
        return result

    async def close(self) -> None:
        self._connection.close()
