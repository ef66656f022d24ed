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

from hmsactd.store import jobs, select, write
from hmsactd.store.condition import Condition
from hmsactd.store.conditions import LAST
from hmsactd.store.errand import ErrandConnection
from hmsactd.store.errors import FOR_GOOD, Trouble, Unavailable
from hmsactd.store.job import JobRow, ResultRow
from hmsactd.store.journal import bring_names_to_disk, bring_to_disk
from hmsactd.store.look import refusal
from hmsactd.store.migrate import known_migrations, migrate
from hmsactd.store.rollback import INCARNATION, Rollback, note_rollback
from hmsactd.store.rows import summary_of
from hmsactd.store.search import Search
from hmsactd.store.store import (
    ID_PREFIX,
    IDS_LOOKED_AT_MAX,
    Batch,
    Birth,
    By,
    Call,
    Counted,
    Due,
    EventRow,
    Kept,
    Log,
    LogRow,
    Page,
    PayloadRow,
    PendingSize,
    Position,
    Queued,
    QueueSize,
    RequestRow,
    Summary,
    Tally,
)
from hmsactd.store.trouble import ROOM_MIN_BYTES, free_bytes, unavailable
from hmsactd.store.where import EVERYTHING, Order, Where

DATABASE_FILE: Final = "hmsactd.db"
READERS: Final = 2
WAL_BYTES_KEPT: Final = 64 * 1024 * 1024
Result = TypeVar("Result")


class SqliteStore:
    """A store in one file."""

    def __init__(self, path: Path) -> None:
        self.condition = Condition()
        self.path = self._path = path.absolute()
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
            await self._writer.run(lambda _: bring_names_to_disk(self._path.parent))
            for _ in range(READERS):
                self._readers.append(await ErrandConnection.connect(self._uri, mode="ro"))
        except (OSError, sqlite3.Error) as error:
            await self.close()
            raise refusal(self._path, error) from error
        except BaseException:
            await self.close()
            raise
        self._next_reader = cycle(self._readers)
        self._epoch = log.epoch
        return log

    async def open_to_read(self) -> Log | None:
        """Opens what is there without writing anything, also beside a daemon; None if no log was begun yet."""
        try:
            self._readers.append(await ErrandConnection.connect(self._uri, mode="ro"))
        except sqlite3.Error as error:
            raise unavailable(error, self._path.parent) from error
        self._next_reader = cycle(self._readers)
        return next((Log(*row) for row in await self._read(select.LOG)), None)

    async def reopen(self) -> Log:
        """Opens the writing connection anew after a failed write; raises Unavailable while that fails, too."""
        await self._close_writer()
        try:
            self._writer = await ErrandConnection.connect(self._uri, mode="rw")
            return await self._writer.run(_resume)
        except (sqlite3.Error, MemoryError) as error:
            await self._close_writer()
            raise unavailable(error, self._path.parent) from error

    async def probe(self) -> None:
        """Writes a little, and returns if that has reached the disk; raises Unavailable."""
        directory = self._path.parent
        if self._writer is None:
            raise Unavailable("the database is closed")
        try:
            await self._writer.run(_probe)
            free = free_bytes(directory)
        except (sqlite3.Error, OSError, MemoryError) as error:
            raise unavailable(error, directory) from error
        if free < ROOM_MIN_BYTES:
            # A few bytes still fit in, and the next commit would not.
            raise Unavailable(f"the disk is full ({free} bytes are free)", Trouble.DISK_FULL)

    async def begin_incarnation(self, rollback: Rollback) -> Log:
        """Puts it on the record that the log goes on from an older state, in epochs that it never had."""
        if self._writer is None:
            raise Unavailable("the database is closed")
        try:
            log = await self._writer.run(lambda connection: _begin_incarnation(connection, rollback))
        except sqlite3.Error as error:
            raise unavailable(error, self._path.parent) from error
        self._epoch = log.epoch
        return log

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
            raise self._closed()
        try:
            return await self._writer.run(lambda connection: write.write(connection, batch))
        except (sqlite3.Error, MemoryError) as error:
            # What failed may be the fsync: pages that were lost are not written by trying again.
            raise unavailable(error, self._path.parent) from error

    async def erase(self, namespace: str, operation: str) -> bool:
        """Forgets what was said in an operation for good."""
        if self._writer is None:
            raise self._closed()
        try:
            return await self._writer.run(lambda connection: write.erase(connection, namespace, operation))
        except sqlite3.Error as error:
            raise unavailable(error, self._path.parent) from error

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
        return await self._look(lambda connection: _log_rows(connection, start, end, bytes_max))

    async def payloads(self, namespace: str, operation: str, sequences: Sequence[int]) -> list[PayloadRow]:
        """Returns the encrypted payloads of some records."""
        return [PayloadRow(*row) for row in await self._read(*select.payloads(namespace, operation, sequences))]

    async def leaves(self, start: int, end: int) -> list[bytes]:
        """Returns leaves of the log."""
        return [leaf for (leaf,) in await self._read(select.LEAVES, (start, end))]

    async def entries(self, start: int, end: int) -> list[EventRow]:
        """Returns records of the log."""
        return [EventRow(*row) for row in await self._read(select.ENTRIES, (start, end))]

    async def wrapped_key(self) -> tuple[str, str, bytes] | None:
        """Returns a payload key as kept."""
        return next(
            ((namespace, operation, key) for namespace, operation, key in await self._read(select.WRAPPED_KEY)), None
        )

    async def rollbacks(self) -> list[Rollback]:
        """Returns what was accepted."""
        return [Rollback(*row) for row in await self._read(select.ROLLBACKS)]

    async def nodes(self, level: int, start: int, end: int) -> list[bytes]:
        """Returns kept inner nodes of a level."""
        return [node for (node,) in await self._read(select.NODES, (level, start, end))]

    async def seal_over(self, index: int) -> str | None:
        """Returns the first seal that covers an index of the log."""
        return next((note for (note,) in await self._read(select.SEAL_OVER, (index,))), None)

    async def seals(self, after: int, limit: int) -> list[tuple[int, str]]:
        """Returns a page of seals."""
        return [(size, note) for size, note in await self._read(select.SEALS, (after, limit))]

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
        """Returns the id that `part` is, else those that begin with it, else those that contain it."""
        if await self._read(select.IS_ID, (namespace, part)):
            return [part]
        for beginning in (part, f"{ID_PREFIX}{part}"):
            if found := await self._read(select.IDS_FROM, (namespace, beginning, beginning + LAST, limit)):
                return [operation for (operation,) in found]
        found = await self._read(select.IDS_WITH, (namespace, IDS_LOOKED_AT_MAX, part, limit))
        return [operation for (operation,) in found]

    async def operations(
        self,
        namespace: str,
        where: Where = EVERYTHING,
        *,
        order: Order = Order.STARTED,
        after: Position | None = None,
        oldest_first: bool = False,
        limit: int = 50,
    ) -> Page:
        """Returns a page of operations in an order, beyond `after`."""
        return await self._look(
            lambda connection: Search(connection, namespace, where).page(order, after, limit, oldest_first=oldest_first)
        )

    async def count(self, namespace: str, where: Where = EVERYTHING, by: By | None = None) -> Counted:
        """Returns how many operations there are."""
        return await self._look(lambda connection: Search(connection, namespace, where).count(by))

    async def by_key(self, namespace: str, key: str, states: Sequence[str] = (), limit: int = 50) -> list[Summary]:
        """Returns operations that have a business key, the newest first."""
        return [summary_of(row) for row in await self._read(*select.by_key(namespace, key, states, limit))]

    async def due(self, until: int, limit: int) -> list[Due]:
        """Returns operations that are due, the earliest first."""
        return [Due(*row) for row in await self._read(select.DUE, (until, limit))]

    async def next_due(self) -> int | None:
        """Returns the earliest due time there is."""
        due_at: int | None = (await self._read(select.NEXT_DUE))[0][0]
        return due_at

    async def queued(self, namespace: str, svc: str, steps: Sequence[str] | None, limit: int) -> list[Queued]:
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

    async def job(self, namespace: str, job: str) -> JobRow | None:
        """Returns a job."""
        return next(map(jobs.job_of, await self._read(jobs.JOB, (namespace, job))), None)

    async def job_of_request(self, namespace: str, starter: str, action: str, request_id: str) -> JobRow | None:
        """Returns the job that a request has begun."""
        found = await self._read(jobs.JOB_BY_REQUEST, (namespace, starter, action, request_id))
        return next(map(jobs.job_of, found), None)

    async def jobs(self, namespace: str, before: tuple[int, str] | None = None, limit: int = 50) -> list[JobRow]:
        """Returns a page of jobs, the newest first."""
        return [jobs.job_of(row) for row in await self._read(*jobs.jobs(namespace, before, limit))]

    async def open_jobs(self) -> list[JobRow]:
        """Returns the jobs that have not ended."""
        return [jobs.job_of(row) for row in await self._read(jobs.OPEN_JOBS)]

    async def old_jobs(self, ended_before: int, kept_max: int, limit: int = 50) -> list[tuple[str, str]]:
        """Returns jobs that need not be kept."""
        return [(namespace, job) for namespace, job in await self._read(jobs.OLD_JOBS, (ended_before, kept_max, limit))]

    async def job_results(
        self, namespace: str, job: str, *, after: int = 0, outcome: str | None = None, limit: int = 50
    ) -> list[ResultRow]:
        """Returns a page of results."""
        return [ResultRow(*row) for row in await self._read(*jobs.results(namespace, job, after, outcome, limit))]

    async def _count(self, sql: str, parameters: Sequence[object]) -> int:
        count: int = (await self._read(sql, parameters))[0][0]
        return count

    async def _read(self, sql: str, parameters: Sequence[object] = ()) -> list[Any]:
        return await self._look(lambda connection: connection.execute(sql, parameters).fetchall())

    async def _look(self, work: Callable[[sqlite3.Connection], Result]) -> Result:
        if not self._readers:
            raise Unavailable("the database is closed")
        try:
            return await next(self._next_reader).run(work)
        except sqlite3.Error as error:
            failed = unavailable(error, self._path.parent)
            if failed.trouble in FOR_GOOD:
                # Whoever reads is the first to see it; whoever writes must not go on for that.
                self.condition.break_down(failed)
            raise failed from error

    def _closed(self) -> Unavailable:
        """Why there is nothing to write with: the store is closed, or could not be opened anew."""
        trouble = self.condition.trouble
        return Unavailable("the database is closed") if trouble is None else Unavailable(str(trouble), trouble.trouble)

    async def _close_writer(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            await writer.close()


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
    bring_to_disk(connection)
    return _log(connection)


def _resume(connection: sqlite3.Connection) -> Log:
    _configure(connection)
    # After a failed fsync the system shows pages that never reached the disk, as if they had. What is seen now counts
    # as recorded, so it has to be written again before anybody builds on it.
    bring_to_disk(connection)
    return _log(connection)


def _probe(connection: sqlite3.Connection) -> None:
    # One page and an fsync. Nothing else uses this number.
    ((number,),) = connection.execute("PRAGMA user_version").fetchall()
    connection.execute(f"PRAGMA user_version = {(number + 1) % 1_000_000}")


def _begin_incarnation(connection: sqlite3.Connection, rollback: Rollback) -> Log:
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.execute("UPDATE log SET epoch = (epoch / ? + 1) * ? + 1", (INCARNATION, INCARNATION))
        note_rollback(connection, rollback)
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
    return _log(connection)


def _log(connection: sqlite3.Connection) -> Log:
    return Log(*connection.execute(select.LOG).fetchone())
