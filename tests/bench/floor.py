"""The floor of W1: the same messages and the same commits, and no engine.

The smallest program that can pass for the daemon: it keeps each operation in a dict, calls four steps one after the
other, and writes as many rows of the same size, in the same number of appends, under group commit with one fsync a
batch. No rules, no chain, no seal, no encryption, no recovery. What the daemon costs beyond this is the engine.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import sqlite3
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import aiosqlite
import grpc
from hmsact.v1 import operation_pb2, operation_pb2_grpc, worker_pb2, worker_pb2_grpc

STEPS = ("validate_form", "eligibility_check", "update_balance", "notify")
# As large as the rows of the daemon for the same input: a record with its leaf, what was said, encrypted, a summary.
RECORD, PAYLOAD, SUMMARY = os.urandom(660), os.urandom(190), os.urandom(280)


class FloorConnection(sqlite3.Connection):
    """Writes a batch of appends in one transaction when told to commit."""

    rows: Sequence[tuple[str, int, int]] = ()
    counter = itertools.count()

    def commit(self) -> None:
        self.execute("BEGIN IMMEDIATE")
        for operation, events, payloads in self.rows:
            self.executemany(
                "INSERT INTO event VALUES (?, ?, ?)", [(next(self.counter), operation, RECORD) for _ in range(events)]
            )
            self.executemany(
                "INSERT INTO payload VALUES (?, ?, ?)",
                [(operation, next(self.counter), PAYLOAD) for _ in range(payloads)],
            )
            self.execute("INSERT OR REPLACE INTO operation VALUES (?, ?)", (operation, SUMMARY))
        self.execute("COMMIT")


class Floor(operation_pb2_grpc.OperationServiceServicer, worker_pb2_grpc.WorkerServiceServicer):
    """Both services, in one object."""

    def __init__(self, database: aiosqlite.Connection) -> None:
        self._database = database
        self._waiting: list[tuple[tuple[str, int, int], asyncio.Future[None]]] = []
        self._work = asyncio.Event()
        self._calls: list[worker_pb2.Call] = []
        self._verdicts: list[worker_pb2.Verdict] = []
        self._news = asyncio.Event()
        self._inputs: dict[str, bytes] = {}
        self._ended: dict[str, asyncio.Future[None]] = {}
        self._ids = itertools.count()

    async def commit(self) -> None:
        while True:
            await self._work.wait()
            self._work.clear()
            taken, self._waiting = self._waiting, []
            self._database._conn.rows = [row for row, _ in taken]  # type: ignore[attr-defined]
            await self._database.commit()
            for _, done in taken:
                done.set_result(None)

    async def _append(self, operation: str, events: int, payloads: int) -> None:
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(((operation, events, payloads), done))
        self._work.set()
        await done

    async def StartOperation(self, request: operation_pb2.StartOperationRequest, context: Any) -> Any:  # noqa: N802
        operation = f"op_{next(self._ids):026}"
        self._inputs[operation] = request.input
        self._ended[operation] = asyncio.get_running_loop().create_future()
        await self._append(operation, 2, 1)
        self._call(operation, 1)
        receipt = operation_pb2.Receipt(log="x" * 30, index=1, leaf=b"x" * 32, seal="x" * 200)
        recorded = operation_pb2.Recorded(state=1, revision=1, sequence=2, receipt=receipt)  # type: ignore[arg-type]
        return operation_pb2.StartOperationResponse(operation_id=operation, recorded=recorded)

    async def WaitOperation(self, request: operation_pb2.WaitOperationRequest, context: Any) -> Any:  # noqa: N802
        ended = self._ended[request.operation_id]
        await ended
        del self._ended[request.operation_id]
        operation = operation_pb2.Operation(
            namespace="default",
            id=request.operation_id,
            name="loan_forgiveness",
            state=operation_pb2.OPERATION_STATE_COMPLETED,
            definition_digest="x" * 64,
        )
        return operation_pb2.WaitOperationResponse(operation=operation)

    def _call(self, operation: str, instance: int) -> None:
        attempt = worker_pb2.Attempt(namespace="default", operation_id=operation, instance=instance, attempt=1)
        outputs = dict.fromkeys(STEPS[: instance - 1], PAYLOAD[:90])
        self._calls.append(
            worker_pb2.Call(
                attempt=attempt,
                step=STEPS[instance - 1],
                definition="loan_forgiveness",
                idempotency_key=f"{operation}/{instance}",
                input=self._inputs[operation],
                outputs=outputs,
            )
        )
        self._news.set()

    async def _reported(self, attempt: worker_pb2.Attempt) -> None:
        await self._append(attempt.operation_id, 2, 1)
        kind = worker_pb2.VERDICT_KIND_RECORDED
        self._verdicts.append(worker_pb2.Verdict(attempt=attempt, kind=kind))
        self._news.set()
        if attempt.instance < len(STEPS):
            self._call(attempt.operation_id, attempt.instance + 1)
        else:
            del self._inputs[attempt.operation_id]
            self._ended[attempt.operation_id].set_result(None)

    async def Work(self, request_iterator: Any, context: Any) -> AsyncIterator[worker_pb2.WorkResponse]:  # noqa: N802
        tasks = asyncio.TaskGroup()

        async def read() -> None:
            async for request in request_iterator:
                for report in request.reports:
                    tasks.create_task(self._reported(report.attempt))

        async with tasks:
            tasks.create_task(read())
            yield worker_pb2.WorkResponse(welcome=worker_pb2.Welcome(session="floor"))
            while True:
                await self._news.wait()
                self._news.clear()
                calls, self._calls = self._calls, []
                verdicts, self._verdicts = self._verdicts, []
                yield worker_pb2.WorkResponse(calls=calls, verdicts=verdicts)


async def main(path: Path) -> None:
    """Serve until killed; prints the port."""
    async with aiosqlite.connect(path, factory=FloorConnection, isolation_level=None) as database:
        await database.execute("PRAGMA journal_mode = WAL")
        await database.execute("PRAGMA synchronous = FULL")
        await database.execute("CREATE TABLE event (position INTEGER PRIMARY KEY, operation TEXT, record BLOB) STRICT")
        await database.execute(
            "CREATE TABLE payload (operation TEXT, sequence INTEGER, sealed BLOB, PRIMARY KEY (operation, sequence))"
            " STRICT, WITHOUT ROWID"
        )
        await database.execute("CREATE TABLE operation (operation TEXT PRIMARY KEY, summary BLOB) STRICT")
        floor = Floor(database)  # type: ignore[abstract]
        server = grpc.aio.server(options=[("grpc.so_reuseport", 0), ("grpc.server.max_pending_requests", 10_000)])
        operation_pb2_grpc.add_OperationServiceServicer_to_server(floor, server)
        worker_pb2_grpc.add_WorkerServiceServicer_to_server(floor, server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        print(f'{{"grpc": "127.0.0.1:{port}"}}', flush=True)
        await floor.commit()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]) / "floor.db"))
