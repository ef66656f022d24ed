"""Writes one batch into SQLite, in the writing connection's thread: all of it in one transaction, or nothing."""

# ruff: noqa: S608 -- what is put into the SQL is names of our own columns; every value is a parameter.

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from functools import lru_cache
from typing import Final

from hmsactd.store.errors import Fenced
from hmsactd.store.rows import BORN, CHANGING, columns_of
from hmsactd.store.store import Append, Batch

# What is wrong with one append's rows; anything else is wrong with the database.
ROW_FAULTS: Final = (
    sqlite3.IntegrityError,
    sqlite3.InterfaceError,
    sqlite3.ProgrammingError,
    sqlite3.DataError,
    OverflowError,
    UnicodeError,
)


def write(connection: sqlite3.Connection, batch: Batch) -> dict[int, Exception]:
    """Writes a batch; see Store.write. Raises sqlite3.Error when the database fails."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        _advance(connection, batch)
        refused = _write_operations(connection, batch.appends)
        if refused:
            return refused
        _write_log(connection, batch)
        connection.execute("COMMIT")
        return {}
    finally:
        # A failed COMMIT may have ended the transaction by itself.
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def erase(connection: sqlite3.Connection, namespace: str, operation: str) -> bool:
    """Forgets what was said in an operation, in the database's free pages and its journal, too."""
    place = (namespace, operation)
    connection.execute("PRAGMA secure_delete = ON")
    connection.execute("BEGIN IMMEDIATE")
    try:
        found = connection.execute(
            "UPDATE operation SET payload_key = NULL, key = NULL, labels = '[]', requested_by = NULL"
            " WHERE namespace = ? AND operation = ?",
            place,
        ).rowcount
        connection.execute("DELETE FROM payload WHERE namespace = ? AND operation = ?", place)
        connection.execute("DELETE FROM label WHERE namespace = ? AND operation = ?", place)
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        connection.execute("PRAGMA secure_delete = OFF")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    return bool(found)


def _advance(connection: sqlite3.Connection, batch: Batch) -> None:
    advanced = connection.execute(
        "UPDATE log SET size = ? WHERE size = ? AND epoch = ?", (batch.size, batch.size_before, batch.epoch)
    )
    if not advanced.rowcount:
        raise Fenced("another process has written to the log")


def _write_operations(connection: sqlite3.Connection, appends: Iterable[Append]) -> dict[int, Exception]:
    refused: dict[int, Exception] = {}
    for position, append in enumerate(appends):
        try:
            is_kept = _born(connection, append) if append.before is None else _changed(connection, append)
            _write_requests(connection, append)
        except ROW_FAULTS as error:
            is_kept, refused[position] = True, _fault(append, error)
        if not is_kept:
            refused[position] = Fenced(f"another owner has written to {append.operation}")
    return refused


def _fault(append: Append, error: Exception) -> Exception:
    if isinstance(error, sqlite3.IntegrityError) and "request." in str(error):
        return Fenced(f"a request of {append.operation} was carried out elsewhere")
    return ValueError(f"{append.operation} can't be kept: {error}")


def _born(connection: sqlite3.Connection, append: Append) -> bool:
    """Inserts an operation; False if it is there."""
    summary = append.summary
    inserted = connection.execute(
        _INSERT,
        (
            *columns_of(summary, BORN),
            *columns_of(summary, CHANGING),
            json.dumps(summary.labels),
            append.events[-1].leaf,
            append.payload_key,
        ),
    )
    if not inserted.rowcount:
        return False
    if summary.labels:
        connection.executemany(
            "INSERT OR IGNORE INTO label (namespace, key, value, operation) VALUES (?, ?, ?, ?)",
            [(append.namespace, key, value, append.operation) for key, value in summary.labels],
        )
    return True


def _changed(connection: sqlite3.Connection, append: Append) -> bool:
    """Updates what has changed of an operation; False if its head is not the one that the append comes after."""
    assert append.before is not None, "what is changed was there before"
    before, now = columns_of(append.before, CHANGING), columns_of(append.summary, CHANGING)
    names, values = [], []
    for name, old, new in zip(CHANGING, before, now, strict=True):
        if old != new:
            names.append(name)
            values.append(new)
    if append.payload_key is not None:
        names.append("payload_key")
        values.append(append.payload_key)
    updated = connection.execute(
        _update(tuple(names)),
        (*values, append.events[-1].leaf, append.namespace, append.operation, append.after, append.head),
    )
    return bool(updated.rowcount)


def _write_requests(connection: sqlite3.Connection, append: Append) -> None:
    for request in append.requests:
        connection.execute(
            "INSERT INTO request (namespace, principal, rpc, request_id, digest, operation, sequence, state, revision)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                request.namespace,
                request.principal,
                request.rpc,
                request.request_id,
                request.digest,
                request.operation,
                request.sequence,
                request.state,
                request.revision,
            ),
        )


def _write_log(connection: sqlite3.Connection, batch: Batch) -> None:
    connection.executemany(
        "INSERT INTO event (position, namespace, operation, sequence, record, leaf) VALUES (?, ?, ?, ?, ?, ?)",
        [
            (event.index, append.namespace, append.operation, event.sequence, event.record, event.leaf)
            for append in batch.appends
            for event in append.events
        ],
    )
    connection.executemany(
        "INSERT INTO payload (namespace, operation, sequence, name, sealed) VALUES (?, ?, ?, ?, ?)",
        [
            (append.namespace, append.operation, payload.sequence, payload.name, payload.sealed)
            for append in batch.appends
            for payload in append.payloads
        ],
    )
    if batch.nodes:
        connection.executemany(
            "INSERT INTO node (level, position, hash) VALUES (?, ?, ?)",
            [(node.level, node.position, node.hash) for node in batch.nodes],
        )
    connection.execute("INSERT INTO seal (size, note) VALUES (?, ?)", (batch.size, batch.seal))


_COLUMNS: Final = (*BORN, *CHANGING, "labels", "head", "payload_key")
_INSERT: Final = (
    f"INSERT INTO operation ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"
    " ON CONFLICT (namespace, operation) DO NOTHING"
)


# Setting only what has changed spares the indexes of all the rest. The names are those in CHANGING.
@lru_cache(256)
def _update(names: tuple[str, ...]) -> str:
    setting = "".join(f"{name} = ?, " for name in names)
    return f"UPDATE operation SET {setting}head = ? WHERE namespace = ? AND operation = ? AND sequence = ? AND head = ?"
