"""The questions that are put to SQLite. Each is bounded, or reads an index that stays small."""

# ruff: noqa: S608 -- what is put into the SQL is conditions of our own; every value is a parameter.

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

from hmsactd.store.rows import SUMMARY_COLUMNS

Question = tuple[str, tuple[object, ...]]

LOG: Final = (
    "SELECT origin, verifier_key, epoch, size, (SELECT note FROM seal ORDER BY size DESC LIMIT 1) FROM log WHERE id = 1"
)
LEAVES: Final = "SELECT leaf FROM event WHERE position >= ? AND position < ? ORDER BY position"
ENTRIES: Final = (
    "SELECT position, sequence, record, leaf FROM event WHERE position >= ? AND position < ? ORDER BY position"
)
WRAPPED_KEY: Final = (
    "SELECT namespace, operation, payload_key FROM operation WHERE payload_key IS NOT NULL ORDER BY rowid DESC LIMIT 1"
)
ROLLBACKS: Final = "SELECT at, size, seal, lost_size, lost_seal FROM rollback ORDER BY number"
NODES: Final = "SELECT hash FROM node WHERE level = ? AND position >= ? AND position < ? ORDER BY position"
SEAL_OVER: Final = "SELECT note FROM seal WHERE size > ? ORDER BY size LIMIT 1"
SEALS: Final = "SELECT size, note FROM seal WHERE size > ? ORDER BY size LIMIT ?"
LOG_ROWS: Final = (
    "SELECT position, namespace, operation, sequence, record, leaf FROM event"
    " WHERE position >= ? AND position < ? ORDER BY position"
)
SEAL_WITHIN: Final = "SELECT size, note FROM seal WHERE size > ? AND size <= ? ORDER BY size DESC LIMIT 1"
LAST_SEAL: Final = "SELECT note FROM seal ORDER BY size DESC LIMIT 1"
IS_ID: Final = "SELECT 1 FROM operation WHERE namespace = ? AND operation = ?"
IDS_FROM: Final = (
    "SELECT operation FROM operation WHERE namespace = ? AND operation >= ? AND operation < ?"
    " ORDER BY operation LIMIT ?"
)
# Ids begin with the time, so the last ones are the newest.
IDS_WITH: Final = (
    "SELECT operation FROM (SELECT operation FROM operation WHERE namespace = ? ORDER BY operation DESC LIMIT ?)"
    " WHERE instr(operation, ?) > 0 ORDER BY operation LIMIT ?"
)
DUE: Final = (
    "SELECT namespace, operation, due_at, number FROM operation WHERE due_at IS NOT NULL AND due_at <= ?"
    " AND (due_at, number) > (?, ?) ORDER BY due_at, number LIMIT ?"
)
DUE_COLUMNS: Final = ("namespace", "operation", "due_at", "number")
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
TALLIES: Final = "SELECT namespace, definition, state, count FROM tally WHERE count > 0 ORDER BY 1, 2, 3"
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


def by_key(namespace: str, key: str, states: Sequence[str], limit: int) -> Question:
    """Asks for operations that have a business key."""
    state, values = (f" AND state {_IN}", (json.dumps(list(states)),)) if states else ("", ())
    sql = (
        f"SELECT {SUMMARY_COLUMNS} FROM operation WHERE namespace = ? AND key = ?{state}"
        " ORDER BY started_at DESC, number DESC LIMIT ?"
    )
    return sql, (namespace, key, *values, limit)


def queued(namespace: str, svc: str, steps: Sequence[str] | None, limit: int) -> Question:
    """Asks for steps that await a worker."""
    named, names = ("", ()) if steps is None else (f" AND awaits_name {_IN}", (json.dumps(list(steps)),))
    sql = (
        "SELECT namespace, operation, awaits_name, awaits_instance, awaits_since FROM operation"
        f" WHERE awaits = 'worker' AND namespace = ? AND awaits_who = ?{named}"
        " ORDER BY awaits_since LIMIT ?"
    )
    return sql, (namespace, svc, *names, limit)


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
