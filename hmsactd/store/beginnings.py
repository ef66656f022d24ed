"""Where a search can begin: the indexes that know some of what a filter asks for, and how many rows each leads to."""

# ruff: noqa: S608 -- what is put into the SQL is names of our own tables and indexes; every value is a parameter.

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from hmsactd.store.conditions import IN, LAST, Clause, within
from hmsactd.store.where import Order, Span, Where

MERGED_MAX: Final = 8
"""Ranges of an index that are merged into one order: as many as there are states."""


@dataclass(frozen=True, slots=True)
class Beginning:
    """An index, and the ranges of it in which the wanted rows are.

    `order` is the order in which each range is; None for one that has none of ours, whose rows are collected. `alone`
    is the index by itself, in which rows can be counted without looking at operations; with `joined` these can be read.
    `numbers` asks for the number of every row, of some maybe twice. `said` is what it sees to of the filter.
    """

    alone: str
    joined: str
    table: str
    ranges: tuple[Clause, ...]
    numbers: Clause
    order: Order | None
    said: frozenset[str]


BASES: Final = {
    Order.STARTED: "operation_by_start",
    Order.UPDATED: "operation_by_update",
    Order.ENDED: "operation_by_end",
    Order.DUE: "operation_due",
}
SPAN_OF: Final = {Order.STARTED: "started", Order.UPDATED: "updated", Order.ENDED: "ended", Order.DUE: "due"}


def base(namespace: str, order: Order, where: Where) -> Beginning:
    """All operations, in an order; within the span of it that the filter asks for."""
    sql, values = within(f"operation.{order}", getattr(where, SPAN_OF[order]) or Span())
    if order is Order.DUE:
        # Its index knows no namespaces, because whoever wakes what is due asks for none.
        return _native(BASES[order], [(sql, values)], order, SPAN_OF[order])
    return _native(
        BASES[order],
        [(f"operation.namespace = ? AND {sql}", (namespace, *values))],
        order,
        SPAN_OF[order],
        "namespace",
    )


def beginnings(namespace: str, where: Where, definitions_found: Sequence[Sequence[str]]) -> Iterator[Beginning]:
    """Every index that knows something of what is asked for."""
    yield from _of_what(namespace, where)
    yield from _of_people(namespace, where)
    if where.awaits or where.awaits_who:
        yield _awaited(namespace, where)
    yield from _of_labels(namespace, where)
    for word, found in zip(where.words, definitions_found, strict=True):
        yield _of_word(namespace, word, found)
    for order, name in SPAN_OF.items():
        if getattr(where, name):
            yield base(namespace, order, where)


def _of_what(namespace: str, where: Where) -> Iterator[Beginning]:
    for column, several, name in (("state", where.states, "states"), ("definition", where.definitions, "definitions")):
        if several and len(set(several)) <= MERGED_MAX:
            yield _by_start(f"operation_by_{column}", namespace, column, sorted(set(several)), name)
    if where.key is not None:
        yield _by_start("operation_by_key", namespace, "key", [where.key], "key")
    if where.key_prefix is not None:
        condition = "operation.namespace = ? AND operation.key >= ? AND operation.key < ?"
        values = (namespace, where.key_prefix, where.key_prefix + LAST)
        yield _native("operation_by_key", [(condition, values)], None, "key_prefix", "namespace")
    if where.alarms:
        condition = "operation.namespace = ? AND operation.alarms IS NOT NULL"
        yield _native("operation_by_alarm", [(condition, (namespace,))], Order.STARTED)


def _of_people(namespace: str, where: Where) -> Iterator[Beginning]:
    if where.started_by is not None:
        yield _by_start("operation_by_starter", namespace, "started_by", [where.started_by], "started_by")
    if where.requested_by is not None:
        yield _by_start("operation_by_requester", namespace, "requested_by", [where.requested_by], "requested_by")
    if where.awaits_person is not None:
        claimed = "operation.namespace = ? AND operation.claimed_by = ?"
        assigned = "operation.namespace = ? AND operation.assigned_to = ?"
        values = (namespace, where.awaits_person)
        yield _anywhere([("operation_by_claimant", claimed, values), ("operation_by_assignee", assigned, values)])


def _awaited(namespace: str, where: Where) -> Beginning:
    """What is awaited. A decision of a role is in the order of starts, the rest is wherever it is."""
    if where.awaits == ("decision",) and 0 < len(set(where.awaits_who)) <= MERGED_MAX:
        condition = "operation.awaits = 'decision' AND operation.namespace = ? AND operation.awaits_who = ?"
        ranges = [(condition, (namespace, who)) for who in sorted(set(where.awaits_who))]
        return _native("operation_by_decider", ranges, Order.STARTED, "awaits", "awaits_who", "namespace")
    who, values = "operation.namespace = ?", tuple[str, ...]((namespace,))
    if where.awaits_who:
        who, values = (
            f"{who} AND operation.awaits_who {IN}",
            (*values, json.dumps(where.awaits_who, ensure_ascii=False)),
        )
    kinds = set(where.awaits) or KINDS
    return _anywhere([(index, f"{kind} AND {who}", values) for index, kind, known in AWAITED if known & kinds])


KINDS: Final = frozenset(("worker", "report", "completion", "decision", "operator", "clock"))
AWAITED: Final = (
    ("operation_queued", "operation.awaits = 'worker'", {"worker"}),
    ("operation_by_decider", "operation.awaits = 'decision'", {"decision"}),
    ("operation_in_trouble", "operation.awaits IN ('clock', 'operator')", {"clock", "operator"}),
    ("operation_deferred", "operation.awaits = 'completion'", {"completion"}),
    # What workers have in hand is never more than they have room for.
    ("operation_called", "operation.session IS NOT NULL AND operation.awaits = 'report'", {"report"}),
)


def _of_labels(namespace: str, where: Where) -> Iterator[Beginning]:
    condition = "label.namespace = ? AND label.key = ?"
    for name, value in where.labels:
        joined = "label CROSS JOIN operation ON operation.number = label.number"
        ranges = ((f"{condition} AND label.value = ?", (namespace, name, value)),)
        said = frozenset({"namespace", "labels"} if len(where.labels) == 1 else ())
        yield Beginning("label", joined, "label", ranges, _numbers("label", "label", ranges), Order.STARTED, said)
    for name in where.labels_there:
        yield _beside("label", condition, (namespace, name))


def _of_word(namespace: str, word: str, definitions_found: Sequence[str]) -> Beginning:
    condition = "word.namespace = ? AND word.word >= ? AND word.word < ?"
    values = (namespace, word, word + LAST)
    if not definitions_found:
        return _beside("word", condition, values)
    by_name = f"operation.namespace = ? AND operation.definition {IN}"
    named = (namespace, json.dumps(definitions_found, ensure_ascii=False))
    return _union(
        [
            (f"SELECT number FROM word WHERE {condition}", values),
            (f"SELECT number FROM operation INDEXED BY operation_by_definition WHERE {by_name}", named),
        ]
    )


def _by_start(index: str, namespace: str, column: str, several: Sequence[str], said: str) -> Beginning:
    condition = f"operation.namespace = ? AND operation.{column} = ?"
    return _native(index, [(condition, (namespace, each)) for each in several], Order.STARTED, said, "namespace")


def _native(index: str, ranges: Sequence[Clause], order: Order | None, *said: str) -> Beginning:
    source = f"operation INDEXED BY {index}"
    numbers = _numbers("operation", source, ranges)
    return Beginning(source, source, "operation", tuple(ranges), numbers, order, frozenset(said))


def _numbers(table: str, source: str, ranges: Sequence[Clause]) -> Clause:
    sql = " UNION ALL ".join(f"SELECT {table}.number FROM {source} WHERE {condition}" for condition, _ in ranges)
    return sql, tuple(value for _, values in ranges for value in values)


def _beside(table: str, condition: str, values: tuple[object, ...]) -> Beginning:
    """Rows of a table beside, of which several may be one operation's."""
    return _union([(f"SELECT number FROM {table} WHERE {condition}", values)])


def _anywhere(places: Sequence[tuple[str, str, tuple[object, ...]]]) -> Beginning:
    """Rows of several indexes, of which one operation may be in more than one."""
    return _union(
        [
            (f"SELECT operation.number FROM operation INDEXED BY {index} WHERE {condition}", values)
            for index, condition, values in places
        ]
    )


def _union(questions: Sequence[Clause]) -> Beginning:
    numbers = " UNION ALL ".join(sql for sql, _ in questions)
    values = tuple(value for _, values in questions for value in values)
    # Joined in this order, or SQLite may prefer to walk all operations in the wanted order, looking for these.
    source = (
        f"(SELECT DISTINCT number FROM ({numbers})) AS found CROSS JOIN operation ON operation.number = found.number"
    )
    return Beginning(source, source, "operation", (("TRUE", values),), (numbers, values), None, frozenset())
