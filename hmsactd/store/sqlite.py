"""Keeps everything in one SQLite file: for a daemon of its own, with nothing to install.

One connection writes, and it alone checkpoints; the others can only read. That also keeps us clear of the fault by
which SQLite before 3.51.3 corrupts a WAL that two connections write at once. The data directory must be held
(hmsactd.store.lock) for as long as this is open.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import closing
from itertools import cycle
from pathlib import Path
from typing import Any, Final, TypeVar

from hmsactd.store import select, write
from hmsactd.store.errand import ErrandConnection
from hmsactd.store.errors import DataRefused, Unavailable
from hmsactd.store.migrate import known_migrations, migrate
from hmsactd.store.rows import summary_of
from hmsactd.store.store import (
    EVERYTHING,
    Batch,
    Birth,
    Call,
    Due,
    EventRow,
    Kept,
    Log,
    LogRow,
    PayloadRow,
    PendingSize,
    Queued,
    QueueSize,
    RequestRow,
    Summary,
    Tally,
    Where,
)

DATABASE_FILE: Final = "hmsactd.db"
READERS: Final = 2
WAL_BYTES_KEPT: Final = 64 * 1024 * 1024

Result = TypeVar("Result")


class SqliteStore:
    """A store in one file."""

    def __init__(self, path: Path) -> None:
        self._path = path.absolute()
        self._uri = self._path.as_uri()
        self._writer: ErrandConnection | None = None
        self._readers: list[ErrandConnection] = []
        self._next_reader = cycle(self._readers)
        self._epoch = 0

    async def open(self, birth: Birth) -> Log:
        """Opens or makes the file, brings it to this version's schema and begins a new epoch; raises DataRefused."""
        try:
            # The file, and what SQLite puts beside it, is its owner's alone wherever the directory came from.
            os.close(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            self._writer = await ErrandConnection.connect(self._uri, mode="rw")
            log = await self._writer.run(lambda connection: _begin(connection, birth))
            for _ in range(READERS):
                self._readers.append(await ErrandConnection.connect(self._uri, mode="ro"))
        except (OSError, sqlite3.Error) as error:
            await self.close()
            raise DataRefused(f"the database {self._path} can't be used: {error}") from error
        except BaseException:
            await self.close()
            raise
        self._next_reader = cycle(self._readers)
        self._epoch = log.epoch
        return log

    async def reopen(self) -> Log:
        """Opens the writing connection anew after a failed write; raises Unavailable while that fails, too."""
        await self._close_writer()
        try:
            self._writer = await ErrandConnection.connect(self._uri, mode="rw")
            return await self._writer.run(_resume)
        except sqlite3.Error as error:
            await self._close_writer()
            raise Unavailable(f"the database can't be opened again: {error}") from error

    async def close(self) -> None:
        """Closes; what was being written is finished first."""
        readers = list(self._readers)
        self._readers.clear()
        for reader in readers:
            await reader.close()
        await self._close_writer()

    async def write(self, batch: Batch) -> dict[int, Exception]:
        """Writes a batch, or nothing."""
        if self._writer is None:
            raise Unavailable("the database is closed")
        try:
            return await self._writer.run(lambda connection: write.write(connection, batch))
        except sqlite3.Error as error:
            # What failed may be the fsync: pages that were lost are not written by trying again.
            raise Unavailable(f"the database failed: {error}") from error

    async def erase(self, namespace: str, operation: str) -> bool:
        """Forgets what was said in an operation for good."""
        if self._writer is None:
            raise Unavailable("the database is closed")
        try:
            return await self._writer.run(lambda connection: write.erase(connection, namespace, operation))
        except sqlite3.Error as error:
            raise Unavailable(f"the database failed: {error}") from error

    async def kept(self, namespace: str, operation: str) -> Kept | None:
        """Returns an operation as kept."""
        rows = await self._read(*select.kept(namespace, operation))
        return Kept(summary_of(rows[0][:-2]), rows[0][-2], rows[0][-1]) if rows else None

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
        """Returns records, in order, or the last ones first."""
        rows = await self._read(*select.records(namespace, operation, after, before, limit, backwards=backwards))
        return [EventRow(*row) for row in rows]

    async def log(self, start: int, end: int, bytes_max: int) -> list[LogRow]:
        """Returns records of all operations, in the order of the log."""
        return await self._ask(lambda connection: _log_rows(connection, start, end, bytes_max))

    async def payloads(self, namespace: str, operation: str, sequences: Sequence[int]) -> list[PayloadRow]:
        """Returns the encrypted payloads of some records."""
        return [PayloadRow(*row) for row in await self._read(*select.payloads(namespace, operation, sequences))]

    async def leaves(self, start: int, end: int) -> list[bytes]:
        """Returns leaves of the log."""
        return [leaf for (leaf,) in await self._read(select.LEAVES, (start, end))]

    async def nodes(self, level: int, start: int, end: int) -> list[bytes]:
        """Returns kept inner nodes of a level."""
        return [node for (node,) in await self._read(select.NODES, (level, start, end))]

    async def seal_over(self, index: int) -> str | None:
        """Returns the first seal that covers an index of the log."""
        return next((note for (note,) in await self._read(select.SEAL_OVER, (index,))), None)

    async def seal_within(self, after: int, until: int) -> tuple[int, str] | None:
        """Returns the last seal between two sizes."""
        rows = await self._read(select.SEAL_WITHIN, (after, until))
        return (rows[0][0], rows[0][1]) if rows else None

    async def last_seal(self) -> str | None:
        """Returns the newest seal."""
        return next((note for (note,) in await self._read(select.LAST_SEAL)), None)

    async def summary(self, namespace: str, operation: str) -> Summary | None:
        """Returns the summary of an operation."""
        kept = await self.kept(namespace, operation)
        return kept.summary if kept else None

    async def find(self, namespace: str, part: str, limit: int = 2) -> list[str]:
        """Returns the ids that contain `part`, or only `part` itself if it is an id."""
        if await self._read(select.IS_ID, (namespace, part)):
            return [part]
        return [operation for (operation,) in await self._read(select.IDS_WITH, (namespace, part, limit))]

    async def operations(
        self,
        namespace: str,
        where: Where = EVERYTHING,
        *,
        after: tuple[int, str] | None = None,
        oldest_first: bool = False,
        limit: int = 50,
    ) -> list[Summary]:
        """Returns a page of operations by (started_at, operation), beyond `after`."""
        rows = await self._read(*select.operations(namespace, where, after, limit, oldest_first=oldest_first))
        return [summary_of(row) for row in rows]

    async def count(self, namespace: str, where: Where = EVERYTHING) -> int:
        """Returns how many operations there are."""
        return await self._count(*select.count(namespace, where))

    async def by_key(self, namespace: str, key: str) -> list[Summary]:
        """Returns the operations that have a business key, the newest first."""
        return [summary_of(row) for row in await self._read(select.BY_KEY, (namespace, key))]

    async def due(self, until: int, limit: int) -> list[Due]:
        """Returns operations that are due, the earliest first."""
        return [Due(*row) for row in await self._read(select.DUE, (until, limit))]

    async def next_due(self) -> int | None:
        """Returns the earliest due time there is."""
        due_at: int | None = (await self._read(select.NEXT_DUE))[0][0]
        return due_at

    async def queued(self, namespace: str, svc: str, steps: Sequence[str], limit: int) -> list[Queued]:
        """Returns steps that await a worker, the longest waiting first."""
        return [Queued(*row) for row in await self._read(*select.queued(namespace, svc, steps, limit))]

    async def queue_sizes(self) -> list[QueueSize]:
        """Returns how many steps await a worker, a service."""
        return [QueueSize(*row) for row in await self._read(select.QUEUE_SIZES)]

    async def calls(self, after: tuple[str, str] | None = None, limit: int = 500) -> list[Call]:
        """Returns a page of what workers have in hand."""
        return [Call(*row) for row in await self._read(select.CALLS, (*(after or ("", "")), limit))]

    async def pending(
        self,
        namespace: str,
        roles: Sequence[str] | None = None,
        *,
        after: tuple[int, str] | None = None,
        limit: int = 50,
    ) -> list[Summary]:
        """Returns operations that await a decision."""
        return [summary_of(row) for row in await self._read(*select.pending(namespace, roles, after, limit))]

    async def count_pending(self, namespace: str, roles: Sequence[str] | None = None) -> int:
        """Returns how many operations await a decision."""
        return await self._count(*select.count_pending(namespace, roles))

    async def pending_sizes(self) -> list[PendingSize]:
        """Returns how many operations await a decision, by definition, checkpoint and role."""
        return [PendingSize(*row) for row in await self._read(select.PENDING_SIZES)]

    async def request(self, namespace: str, principal: str, rpc: str, request_id: str) -> RequestRow | None:
        """Returns what became of a request."""
        rows = await self._read(select.REQUEST, (namespace, principal, rpc, request_id))
        return RequestRow(*rows[0]) if rows else None

    async def tallies(self) -> list[Tally]:
        """Returns how many operations there are by definition and state."""
        return [Tally(*row) for row in await self._read(select.TALLIES)]

    async def alarmed(self, after: tuple[str, str] | None = None, limit: int = 500) -> list[Summary]:
        """Returns a page of operations with alarms."""
        return [summary_of(row) for row in await self._read(select.ALARMED, (*(after or ("", "")), limit))]

    async def _count(self, sql: str, parameters: Sequence[object]) -> int:
        count: int = (await self._read(sql, parameters))[0][0]
        return count

    async def _read(self, sql: str, parameters: Sequence[object] = ()) -> list[Any]:
        return await self._ask(lambda connection: connection.execute(sql, parameters).fetchall())

    async def _ask(self, question: Callable[[sqlite3.Connection], Result]) -> Result:
        if not self._readers:
            raise Unavailable("the database is closed")
        try:
            return await next(self._next_reader).run(question)
        except sqlite3.Error as error:
            raise Unavailable(f"the database could not be read: {error}") from error

    async def _close_writer(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            try:
                await writer.close()
            except sqlite3.Error:
                # It failed before; what it leaves behind is what opening again looks at.
                pass


def _log_rows(connection: sqlite3.Connection, start: int, end: int, bytes_max: int) -> list[LogRow]:
    rows: list[LogRow] = []
    room = bytes_max
    # Row by row, so that what there is no room for is never read; closed, so that reading ends with it.
    with closing(connection.execute(select.LOG_ROWS, (start, end))) as found:
        for values in found:
            row = LogRow(*values)
            room -= len(row.record)
            if rows and room < 0:
                break
            rows.append(row)
    return rows


def _configure(connection: sqlite3.Connection) -> None:
    for pragma in (
        "journal_mode = WAL",
        # NORMAL would survive a kill and lose what was acknowledged in a power cut.
        "synchronous = FULL",
        f"journal_size_limit = {WAL_BYTES_KEPT}",
        "cache_size = -65536",
        "temp_store = MEMORY",
        "trusted_schema = OFF",
    ):
        connection.execute(f"PRAGMA {pragma}").fetchall()


def _begin(connection: sqlite3.Connection, birth: Birth) -> Log:
    _configure(connection)
    migrate(connection, known_migrations())
    connection.execute("BEGIN IMMEDIATE")
    connection.execute(
        "INSERT INTO log (id, origin, verifier_key, epoch, size) VALUES (1, ?, ?, 0, 0) ON CONFLICT DO NOTHING",
        (birth.origin, birth.verifier_key),
    )
    connection.execute("UPDATE log SET epoch = epoch + 1")
    connection.execute("COMMIT")
    return _log(connection)


def _resume(connection: sqlite3.Connection) -> Log:
    _configure(connection)
    return _log(connection)


def _log(connection: sqlite3.Connection) -> Log:
    return Log(*connection.execute(select.LOG).fetchone())
