"""Counts what is awaited, in the indexes of it: in most of them without looking at an operation."""

# ruff: noqa: S608 -- what is put into the SQL is conditions of our own; every value is a parameter.

from __future__ import annotations

import json
import sqlite3
from collections import Counter

from hmsactd.store.beginnings import AWAITED, KINDS
from hmsactd.store.conditions import IN
from hmsactd.store.store import By, Counted
from hmsactd.store.where import Where


def count_awaited(connection: sqlite3.Connection, namespace: str, where: Where, by: By | None, most: int) -> Counted:
    """How many operations await what a filter says of that alone; of each kind no more than `most` are counted."""
    groups: Counter[str] = Counter()
    total, is_exact = 0, True
    kinds = set(where.awaits) or KINDS
    for index, condition, known in AWAITED:
        if not known & kinds:
            continue
        conditions, values = [condition, "operation.namespace = ?"], [namespace]
        if where.awaits_who:
            conditions.append(f"operation.awaits_who {IN}")
            values.append(json.dumps(where.awaits_who, ensure_ascii=False))
        if not known <= kinds:
            conditions.append(f"operation.awaits {IN}")
            values.append(json.dumps(sorted(kinds)))
        sql = (
            "SELECT who, count(*) FROM (SELECT operation.awaits_who AS who"
            f" FROM operation INDEXED BY {index} WHERE {' AND '.join(conditions)} LIMIT ?) GROUP BY who"
        )
        counts = dict(connection.execute(sql, (*values, most)).fetchall())
        total += sum(counts.values())
        is_exact = is_exact and sum(counts.values()) < most
        if by is (By.ROLE if known == {"decision"} else By.SERVICE):
            groups.update(counts)
    return Counted(total, is_exact, tuple(sorted(groups.items())))
