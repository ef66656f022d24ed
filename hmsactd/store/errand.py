"""One thread hop for a whole piece of work on an aiosqlite connection.

aiosqlite crosses to its thread for every statement, and a cancelled caller would leave a transaction open between two
of them. Here whole functions cross: `commit` of the connection runs the one that was sent. Only public parts of
aiosqlite and sqlite3 are used.
"""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

import aiosqlite

Result = TypeVar("Result")
Errand = Callable[[sqlite3.Connection], None]


class ErrandConnection:
    """A database connection with a thread of its own, to which functions are sent."""

    def __init__(self, connection: aiosqlite.Connection, errands: deque[Errand]) -> None:
        self._connection = connection
        self._errands = errands

    @classmethod
    async def connect(cls, uri: str, *, mode: str) -> ErrandConnection:
        """Opens the database at a URI in one of SQLite's modes, such as "rw" and "ro"; raises sqlite3.Error."""
        errands: deque[Errand] = deque()

        def made(*arguments: Any, **options: Any) -> _Connection:
            return _Connection(errands, *arguments, **options)

        connection = await aiosqlite.connect(
            f"{uri}?mode={mode}", uri=True, factory=made, isolation_level=None, cached_statements=256, timeout=5
        )
        return cls(connection, errands)

    async def run(self, work: Callable[[sqlite3.Connection], Result]) -> Result:
        """Returns what a function makes of the connection. Even if the caller is cancelled it runs to its end."""
        results: list[Result] = []

        def errand(connection: sqlite3.Connection) -> None:
            results.append(work(connection))

        # Nothing runs between these two lines, so errands and commits stay in step.
        self._errands.append(errand)
        await self._connection.commit()
        return results[0]

    async def close(self) -> None:
        """Closes after what was sent is done."""
        await self._connection.close()


class _Connection(sqlite3.Connection):
    def __init__(self, errands: deque[Errand], *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._errands = errands

    def commit(self) -> None:
        self._errands.popleft()(self)
