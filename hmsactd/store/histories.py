"""Reads many operations at once, each with the beginning of its timeline: what it takes to wake them."""

# ruff: noqa: S608 -- what is put into the SQL is names of our own columns; every value is a parameter.

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from typing import Any, Final

from hmsactd.store.at_once import rows_at_once
from hmsactd.store.rows import SUMMARY_COLUMNS, SUMMARY_NAMES, summary_of
from hmsactd.store.store import History, Kept

# CROSS JOIN: each that is wanted is looked up in turn, whatever SQLite believes about the sizes of its tables.
_KEPT: Final = (
    f"SELECT turn, {SUMMARY_COLUMNS}, hex(head) AS head, hex(payload_key) AS payload_key, (SELECT sum(length(record))"
    " FROM event WHERE event.namespace = space AND event.operation = id AND event.sequence <= ?) AS bytes"
    " FROM (SELECT key AS turn, json_extract(value, '$[0]') AS space, json_extract(value, '$[1]') AS id"
    " FROM json_each(?)) CROSS JOIN operation ON namespace = space AND operation = id"
)
_KEPT_COLUMNS: Final = ("turn", *SUMMARY_NAMES, "head", "payload_key", "bytes")
_RECORDS: Final = (
    "SELECT json_group_array(length(record)), CAST(group_concat(record, '') AS BLOB) FROM (SELECT record"
    " FROM (SELECT key AS turn, json_extract(value, '$[0]') AS space, json_extract(value, '$[1]') AS id,"
    " json_extract(value, '$[2]') AS until FROM json_each(?))"
    " CROSS JOIN event ON namespace = space AND operation = id AND sequence <= until ORDER BY turn, sequence)"
)


def histories(
    connection: sqlite3.Connection, places: Sequence[tuple[str, str]], records_max: int, bytes_max: int
) -> list[History | None]:
    """Reads operations; see Store.histories."""
    rows = rows_at_once(connection, _KEPT_COLUMNS, _KEPT, (records_max, json.dumps(places)))
    found: dict[int, tuple[Kept, int]] = {row[0]: (_kept(row), row[-1]) for row in rows}
    answered: list[Kept | None] = []
    room = bytes_max
    for turn in range(len(places)):
        kept, size = found.get(turn, (None, 0))
        room -= size
        if answered and room < 0:
            break
        answered.append(kept)
    # Records are never changed, so that they may be read after the summaries: each up to where its summary stands.
    counts = [0 if kept is None else min(kept.summary.sequence, records_max) for kept in answered]
    records = iter(_records(connection, [(*place, count) for place, count in zip(places, counts, strict=False)]))
    return [
        None if kept is None else History(kept, tuple(next(records) for _ in range(count)))
        for kept, count in zip(answered, counts, strict=True)
    ]


def _kept(row: Sequence[Any]) -> Kept:
    head, payload_key = map(bytes.fromhex, row[-3:-1])
    return Kept(summary_of(row[1:-3]), head, payload_key or None)


def _records(connection: sqlite3.Connection, wanted: Sequence[tuple[str, str, int]]) -> list[bytes]:
    """The first so many records of each that is wanted, one after the other."""
    lengths, text = connection.execute(_RECORDS, (json.dumps(wanted),)).fetchone()
    records: list[bytes] = []
    start = 0
    for length in json.loads(lengths):
        records.append(text[start : start + length])
        start += length
    return records
