"""The questions that are put to SQLite. Each is bounded, or reads an index that stays small."""

# ruff: noqa: S608 -- what is put into the SQL is conditions of our own; every value is a parameter.

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

from hmsactd.store.rows import SUMMARY_COLUMNS
from hmsactd.store.store import Where

Question = tuple[str, tuple[object, ...]]

LOG: Final = (
    "SELECT origin, verifier_key, epoch, size, (SELECT note FROM seal ORDER BY size DESC LIMIT 1) FROM log WHERE id = 1"
)
LEAVES: Final = "SELECT leaf FROM event WHERE position >= ? AND position < ? ORDER BY position"
NODES: Final = "SELECT hash FROM node WHERE level = ? AND position >= ? AND position < ? ORDER BY position"
SEAL_OVER: Final = "SELECT note FROM seal WHERE size > ? ORDER BY size LIMIT 1"
LOG_ROWS: Final = (
    "SELECT position, namespace, operation, sequence, record, leaf FROM event"
    " WHERE position >= ? AND position < ? ORDER BY position"
)
SEAL_WITHIN: Final = "SELECT size, note FROM seal WHERE size > ? AND size <= ? ORDER BY size DESC LIMIT 1"
LAST_SEAL: Final = "SELECT note FROM seal ORDER BY size DESC LIMIT 1"
IS_ID: Final = "SELECT 1 FROM operation WHERE namespace = ? AND operation = ?"
IDS_WITH: Final = (
    "SELECT operation FROM operation WHERE namespace = ? AND instr(operation, ?) > 0 ORDER BY operation LIMIT ?"
)
BY_KEY: Final = (
    f"SELECT {SUMMARY_COLUMNS} FROM operation WHERE namespace = ? AND key = ? ORDER BY started_at DESC, operation DESC"
)
DUE: Final = (
    "SELECT namespace, operation, due_at FROM operation"
    " WHERE due_at IS NOT NULL AND due_at <= ? ORDER BY due_at LIMIT ?"
)
NEXT_DUE: Final = "SELECT min(due_at) FROM operation WHERE due_at IS NOT NULL"
PENDING_SIZES: Final = (
    "SELECT namespace, definition, awaits_name, awaits_who, count(*), min(awaits_since) FROM operation"
    " WHERE awaits = 'decision' GROUP BY 1, 2, 3, 4 ORDER BY 1, 2, 3, 4"
)

QUEUE_SIZES: Final = (
    "SELECT namespace, awaits_who, count(*), min(awaits_since) FROM operation"
    " WHERE awaits = 'worker' GROUP BY namespace, awaits_who ORDER BY namespace, awaits_who"
)
CALLS: Final = (
    "SELECT namespace, operation, session FROM operation"
    " WHERE session IS NOT NULL AND (namespace, operation) > (?, ?) ORDER BY namespace, operation LIMIT ?"
)
REQUEST: Final = (
    "SELECT namespace, principal, rpc, request_id, digest, operation, sequence, state, revision FROM request"
    " WHERE namespace = ? AND principal = ? AND rpc = ? AND request_id = ?"
)
TALLIES: Final = (
    "SELECT namespace, definition, state, count(*) FROM operation"
    " GROUP BY namespace, definition, state ORDER BY namespace, definition, state"
)
ALARMED: Final = (
    f"SELECT {SUMMARY_COLUMNS} FROM operation"
    " WHERE alarms IS NOT NULL AND (namespace, operation) > (?, ?) ORDER BY namespace, operation LIMIT ?"
)


def kept(namespace: str, operation: str) -> Question:
    """Asks for an operation with its head and payload key."""
    sql = f"SELECT {SUMMARY_COLUMNS}, head, payload_key FROM operation WHERE namespace = ? AND operation = ?"
    return sql, (namespace, operation)


def records(namespace: str, operation: str, after: int, before: int | None, limit: int, *, backwards: bool) -> Question:
    """Asks for records of a timeline."""
    sql = (
        "SELECT position, sequence, record, leaf FROM event"
        " WHERE namespace = ? AND operation = ? AND sequence > ? AND sequence < ?"
        f" ORDER BY sequence {'DESC' if backwards else 'ASC'} LIMIT ?"
    )
    return sql, (namespace, operation, after, 2**62 if before is None else before, limit)


def payloads(namespace: str, operation: str, sequences: Sequence[int]) -> Question:
    """Asks for the payloads of some records."""
    sql = (
        "SELECT sequence, name, sealed FROM payload"
        f" WHERE namespace = ? AND operation = ? AND sequence {_IN} ORDER BY sequence, name"
    )
    return sql, (namespace, operation, json.dumps(list(sequences)))


def operations(
    namespace: str, where: Where, after: tuple[int, str] | None, limit: int, *, oldest_first: bool
) -> Question:
    """Asks for a page of operations."""
    conditions, values = _conditions(namespace, where)
    if after is not None:
        conditions += f" AND (started_at, operation) {'>' if oldest_first else '<'} (?, ?)"
        values += after
    order = "ASC" if oldest_first else "DESC"
    sql = (
        f"SELECT {SUMMARY_COLUMNS} FROM operation WHERE {conditions}"
        f" ORDER BY started_at {order}, operation {order} LIMIT ?"
    )
    return sql, (*values, limit)


def count(namespace: str, where: Where) -> Question:
    """Asks how many operations there are."""
    conditions, values = _conditions(namespace, where)
    return f"SELECT count(*) FROM operation WHERE {conditions}", values


def queued(namespace: str, svc: str, steps: Sequence[str], limit: int) -> Question:
    """Asks for steps that await a worker."""
    sql = (
        "SELECT namespace, operation, awaits_name, awaits_instance, awaits_since FROM operation"
        f" WHERE awaits = 'worker' AND namespace = ? AND awaits_who = ? AND awaits_name {_IN}"
        " ORDER BY awaits_since LIMIT ?"
    )
    return sql, (namespace, svc, json.dumps(list(steps)), limit)


def pending(namespace: str, roles: Sequence[str] | None, after: tuple[int, str] | None, limit: int) -> Question:
    """Asks for a page of operations that await a decision."""
    conditions, values = _pending(namespace, roles)
    if after is not None:
        conditions += " AND (awaits_since, operation) > (?, ?)"
        values += after
    sql = f"SELECT {SUMMARY_COLUMNS} FROM operation WHERE {conditions} ORDER BY awaits_since, operation LIMIT ?"
    return sql, (*values, limit)


def count_pending(namespace: str, roles: Sequence[str] | None) -> Question:
    """Asks how many operations await a decision."""
    conditions, values = _pending(namespace, roles)
    return f"SELECT count(*) FROM operation WHERE {conditions}", values


# A list is one parameter, so that its length changes no statement and meets no limit.
_IN: Final = "IN (SELECT value FROM json_each(?))"


def _pending(namespace: str, roles: Sequence[str] | None) -> Question:
    conditions = "awaits = 'decision' AND namespace = ?"
    if roles is None:
        return conditions, (namespace,)
    return f"{conditions} AND awaits_who {_IN}", (namespace, json.dumps(list(roles)))


def _conditions(namespace: str, where: Where) -> Question:
    conditions, values = ["namespace = ?"], list[object]([namespace])
    for column, several in (("state", where.states), ("awaits_who", where.awaits_who)):
        if several:
            # One value alone lets an index give the order, too.
            conditions.append(f"{column} = ?" if len(several) == 1 else f"{column} {_IN}")
            values.append(several[0] if len(several) == 1 else json.dumps(several))
    for column, value in (
        ("definition", where.definition),
        ("key", where.key),
        ("started_by", where.started_by),
        ("awaits", where.awaits),
    ):
        if value is not None:
            conditions.append(f"{column} = ?")
            values.append(value)
    for label in where.labels:
        conditions.append("operation IN (SELECT operation FROM label WHERE namespace = ? AND key = ? AND value = ?)")
        values += (namespace, *label)
    return " AND ".join(conditions), tuple(values)
