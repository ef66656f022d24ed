"""A filter as conditions on rows of the operation table. Every value is a parameter."""

# ruff: noqa: S608 -- what is put into the SQL is names of our own columns; every value is a parameter.

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

from hmsactd.store.where import SPANS, Span, Where

Clause = tuple[str, tuple[object, ...]]

LAST: Final = "\U0010ffff"
"""Behind everything that goes on after a prefix."""

# A list is one parameter, so that its length changes no statement and meets no limit.
IN: Final = "IN (SELECT value FROM json_each(?))"


def conditions_of(namespace: str, where: Where, definitions_found: Sequence[Sequence[str]] = ()) -> Clause:
    """What must hold of a row. `definitions_found` are, for each word, the definitions whose name has it."""
    clauses = [("operation.namespace = ?", (namespace,)), *_what(namespace, where), *_whose(where)]
    clauses += [
        (
            f"(instr(operation.words, ?) > 0 OR operation.definition {IN})",
            (f" {word}", json.dumps(found, ensure_ascii=False)),
        )
        for word, found in zip(where.words, definitions_found, strict=True)
    ]
    clauses += [within(f"operation.{order}", span) for name, order in SPANS if (span := getattr(where, name))]
    return joined(clauses)


def joined(clauses: Sequence[Clause]) -> Clause:
    """All of them."""
    return " AND ".join(sql for sql, _ in clauses), tuple(value for _, values in clauses for value in values)


def within(column: str, span: Span) -> Clause:
    """A time within a span."""
    ends = [(f"{column} >= ?", span.since), (f"{column} < ?", span.until)]
    said = [(sql, end) for sql, end in ends if end is not None]
    return " AND ".join([f"{column} IS NOT NULL", *(sql for sql, _ in said)]), tuple(end for _, end in said)


def _what(namespace: str, where: Where) -> list[Clause]:
    clauses = [_any(column, several) for column, several in _several(where) if several]
    if where.key is not None:
        clauses.append(("operation.key = ?", (where.key,)))
    if where.key_prefix is not None:
        clauses.append(("operation.key >= ? AND operation.key < ?", (where.key_prefix, where.key_prefix + LAST)))
    clauses += [(_HAS_LABEL, (namespace, *label)) for label in where.labels]
    clauses += [(_HAS_LABEL_NAMED, (name,)) for name in where.labels_there]
    if where.alarms:
        clauses.append((_HAS_ALARM, (json.dumps(where.alarms),)))
    return clauses


def _whose(where: Where) -> list[Clause]:
    clauses: list[Clause] = []
    if where.started_by is not None:
        clauses.append(("operation.started_by = ?", (where.started_by,)))
    if where.requested_by is not None:
        clauses.append(("operation.requested_by = ?", (where.requested_by,)))
    if where.awaits_who:
        clauses.append(("operation.awaits <> ''", ()))
    if where.awaits_person is not None:
        clauses.append(("coalesce(operation.claimed_by, operation.assigned_to) = ?", (where.awaits_person,)))
    return clauses


def _several(where: Where) -> tuple[tuple[str, tuple[str, ...]], ...]:
    return (
        ("state", where.states),
        ("definition", where.definitions),
        ("awaits", where.awaits),
        ("awaits_who", where.awaits_who),
        ("awaits_name", where.awaits_name),
    )


def _any(column: str, several: tuple[str, ...]) -> Clause:
    if len(several) == 1:
        return f"operation.{column} = ?", several
    return f"operation.{column} {IN}", (json.dumps(several, ensure_ascii=False),)


_HAS_ALARM: Final = (
    f"operation.alarms IS NOT NULL AND EXISTS (SELECT 1 FROM json_each(operation.alarms) AS alarm WHERE alarm.key {IN})"
)
_HAS_LABEL: Final = (
    "EXISTS (SELECT 1 FROM label AS has WHERE has.namespace = ? AND has.key = ? AND has.value = ?"
    " AND has.started_at = operation.started_at AND has.number = operation.number)"
)
_HAS_LABEL_NAMED: Final = (
    "EXISTS (SELECT 1 FROM json_each(operation.labels) AS named WHERE json_extract(named.value, '$[0]') = ?)"
)
