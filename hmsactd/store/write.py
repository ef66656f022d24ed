"""Writes one batch into SQLite, in the writing connection's thread: all of it in one transaction, or nothing."""

# ruff: noqa: S608 -- what is put into the SQL is names of our own columns; every value is a parameter.

from __future__ import annotations

import json
import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import fields
from functools import lru_cache, partial
from typing import Any, Final

from hmsactd.store.errors import Fenced
from hmsactd.store.jobs import write_jobs
from hmsactd.store.journal import bring_to_disk
from hmsactd.store.many import many
from hmsactd.store.rows import BORN, CHANGING, columns_of
from hmsactd.store.store import Append, Batch, RequestRow

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
        if not _write_together(connection, batch.appends):
            # Something is wrong with one of them at least: begin again, one by one, to find out with which.
            connection.execute("ROLLBACK")
            connection.execute("BEGIN IMMEDIATE")
            _advance(connection, batch)
            if refused := _write_operations(connection, batch.appends):
                return refused
        _write_tallies(connection, batch.appends)
        if batch.appends:
            _write_log(connection, batch)
        write_jobs(connection, batch.jobs)
        connection.execute("COMMIT")
        return {}
    finally:
        # A failed COMMIT may have ended the transaction by itself.
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def erase(connection: sqlite3.Connection, namespace: str, operation: str) -> bool:
    """Forgets what was said in an operation, in the database's free pages and its journal, too.

    Raises sqlite3.Error while a reader keeps the journal as it was: ask again.
    """
    place = (namespace, operation)
    connection.execute("PRAGMA secure_delete = ON")
    connection.execute("BEGIN IMMEDIATE")
    try:
        found = connection.execute(
            "SELECT number, started_at, labels, words FROM operation WHERE namespace = ? AND operation = ?", place
        ).fetchone()
        if found is not None:
            _erase_row(connection, namespace, *found)
        connection.execute("DELETE FROM payload WHERE namespace = ? AND operation = ?", place)
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        connection.execute("PRAGMA secure_delete = OFF")
    bring_to_disk(connection)
    return found is not None


def _erase_row(
    connection: sqlite3.Connection, namespace: str, number: int, started_at: int, labels: str, words: str
) -> None:
    # The name of the definition is nobody's secret, and goes with the rest: it is found by `name` all the same.
    connection.execute(
        "UPDATE operation SET payload_key = NULL, key = NULL, labels = '[]', requested_by = NULL, words = ''"
        " WHERE number = ?",
        (number,),
    )
    connection.executemany(
        "DELETE FROM label WHERE namespace = ? AND key = ? AND value = ? AND started_at = ? AND number = ?",
        [(namespace, key, value, started_at, number) for key, value in json.loads(labels)],
    )
    connection.executemany(
        "DELETE FROM word WHERE namespace = ? AND word = ? AND number = ?",
        [(namespace, word, number) for word in words.split()],
    )


def _advance(connection: sqlite3.Connection, batch: Batch) -> None:
    advanced = connection.execute(
        "UPDATE log SET size = ? WHERE size = ? AND epoch = ?", (batch.size, batch.size_before, batch.epoch)
    )
    if not advanced.rowcount:
        raise Fenced("another process has written to the log")


def _write_together(connection: sqlite3.Connection, appends: Iterable[Append]) -> bool:
    """Writes the rows of all operations in a few statements; False if not every one of them could be written."""
    born = [append for append in appends if append.before is None]
    changed: dict[tuple[str, ...], list[tuple[Any, ...]]] = defaultdict(list)
    for append in appends:
        if append.before is not None:
            names, values = _changes(append)
            changed[names].append((append.namespace, append.operation, append.after, append.head, *values))
    requests = [_request_row(request) for append in appends for request in append.requests]
    rows = [_born_row(append, number) for number, append in enumerate(born, _next_number(connection))]
    try:
        if many(connection, _insert_operations, rows) != len(born):
            return False
        for names, values_of_all in changed.items():
            if many(connection, partial(_update_operations, names), values_of_all) != len(values_of_all):
                return False
        many(connection, partial(_insert, _INTO_LABEL), _label_rows(rows))
        many(connection, partial(_insert, _INTO_WORD), _word_rows(rows))
        many(connection, partial(_insert, f"INTO request ({_REQUEST_COLUMNS})"), requests)
    except ROW_FAULTS:
        return False
    return True


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
    row = _born_row(append, _next_number(connection))
    if not connection.execute(_insert_operations(1), row).rowcount:
        return False
    many(connection, partial(_insert, _INTO_LABEL), _label_rows([row]))
    many(connection, partial(_insert, _INTO_WORD), _word_rows([row]))
    return True


def _next_number(connection: sqlite3.Connection) -> int:
    number: int = connection.execute("SELECT coalesce(max(number), 0) + 1 FROM operation").fetchone()[0]
    return number


def _born_row(append: Append, number: int) -> tuple[Any, ...]:
    summary = append.summary
    return (
        *columns_of(summary, BORN),
        *columns_of(summary, CHANGING),
        json.dumps(summary.labels),
        append.events[-1].leaf,
        append.payload_key,
        summary.words,
        number,
    )


def _label_rows(rows: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    return [
        (row[_NAMESPACE], key, value, row[_STARTED_AT], row[_NUMBER])
        for row in rows
        if row[_LABELS] != "[]"
        for key, value in json.loads(row[_LABELS])
    ]


def _word_rows(rows: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    return [(row[_NAMESPACE], word, row[_NUMBER]) for row in rows for word in row[_WORDS].split()]


def _changed(connection: sqlite3.Connection, append: Append) -> bool:
    """Updates what has changed of an operation; False if its head is not the one that the append comes after."""
    names, values = _changes(append)
    place = (append.namespace, append.operation, append.after, append.head)
    return bool(connection.execute(_update_operations(names, 1), (*place, *values)).rowcount)


def _changes(append: Append) -> tuple[tuple[str, ...], tuple[Any, ...]]:
    """The columns that an append changes, and what they are then."""
    assert append.before is not None, "what is changed was there before"
    before, now = columns_of(append.before, CHANGING), columns_of(append.summary, CHANGING)
    names, values = ["head"], [append.events[-1].leaf]
    for name, old, new in zip(CHANGING, before, now, strict=True):
        if old != new:
            names.append(name)
            values.append(new)
    if append.payload_key is not None:
        names.append("payload_key")
        values.append(append.payload_key)
    return tuple(names), tuple(values)


def _write_requests(connection: sqlite3.Connection, append: Append) -> None:
    for request in append.requests:
        connection.execute(_insert(f"INTO request ({_REQUEST_COLUMNS})", 1, len(_REQUEST)), _request_row(request))


def _request_row(request: RequestRow) -> tuple[Any, ...]:
    return tuple(getattr(request, name) for name in _REQUEST)


def _write_tallies(connection: sqlite3.Connection, appends: Iterable[Append]) -> None:
    """Counts the operations of a batch where they now are, and no longer where they were."""
    moved: dict[tuple[str, str, str], int] = {}
    for append in appends:
        before, now = append.before, append.summary
        if before is not None and before.state == now.state:
            continue
        # What an operation was born with stays, whatever a later summary says.
        then = (append.namespace, (before or now).definition, now.state)
        moved[then] = moved.get(then, 0) + 1
        if before is not None:
            was = (append.namespace, before.definition, before.state)
            moved[was] = moved.get(was, 0) - 1
    many(connection, _count, [(*where, by) for where, by in moved.items() if by])


def _write_log(connection: sqlite3.Connection, batch: Batch) -> None:
    events = [
        (event.index, append.namespace, append.operation, event.sequence, event.record, event.leaf)
        for append in batch.appends
        for event in append.events
    ]
    payloads = [
        (append.namespace, append.operation, payload.sequence, payload.name, payload.sealed)
        for append in batch.appends
        for payload in append.payloads
    ]
    many(connection, partial(_insert, "INTO event (position, namespace, operation, sequence, record, leaf)"), events)
    many(connection, partial(_insert, "INTO payload (namespace, operation, sequence, name, sealed)"), payloads)
    nodes = [(node.level, node.position, node.hash) for node in batch.nodes]
    many(connection, partial(_insert, "INTO node (level, position, hash)"), nodes)
    connection.execute("INSERT INTO seal (size, note) VALUES (?, ?)", (batch.size, batch.seal))


_REQUEST: Final = tuple(field.name for field in fields(RequestRow))
_REQUEST_COLUMNS: Final = ", ".join(_REQUEST)
_COLUMNS: Final = (*BORN, *CHANGING, "labels", "head", "payload_key", "words", "number")
_NAMESPACE, _STARTED_AT, _LABELS, _WORDS, _NUMBER = map(
    _COLUMNS.index, ("namespace", "started_at", "labels", "words", "number")
)
_INTO_LABEL: Final = "OR IGNORE INTO label (namespace, key, value, started_at, number)"
_INTO_WORD: Final = "INTO word (namespace, word, number)"


@lru_cache(1024)
def _insert(into: str, rows: int, width: int) -> str:
    """The statement that inserts so many rows, each with so many columns."""
    return f"INSERT {into} VALUES {_values(rows, width)}"


def _insert_operations(rows: int, width: int = len(_COLUMNS)) -> str:
    return _insert(f"INTO operation ({', '.join(_COLUMNS)})", rows, width) + " ON CONFLICT DO NOTHING"


# Two rows of one place never come in one statement, so each finds what is kept.
def _count(rows: int, width: int) -> str:
    into = "INTO tally (namespace, definition, state, count)"
    return _insert(into, rows, width) + " ON CONFLICT DO UPDATE SET count = count + excluded.count"


# Setting only what has changed spares the indexes of all the rest. The names are those in CHANGING.
@lru_cache(1024)
def _update_operations(names: tuple[str, ...], rows: int, width: int = 0) -> str:
    """The statement that changes these columns of so many operations, each if its head is still the one it comes after.

    A row of it is namespace, operation, sequence, head, then the new values.
    """
    setting = ", ".join(f"{name} = then_.column{number}" for number, name in enumerate(names, 5))
    return (
        f"UPDATE operation SET {setting} FROM (VALUES {_values(rows, len(names) + 4)}) AS then_"
        " WHERE operation.namespace = then_.column1 AND operation.operation = then_.column2"
        " AND operation.sequence = then_.column3 AND operation.head = then_.column4"
    )


def _values(rows: int, width: int) -> str:
    row = f"({', '.join('?' * width)})"
    return ", ".join([row] * rows)
