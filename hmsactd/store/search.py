"""Finds and counts operations in SQLite, by looking at a bounded number of rows.

A search begins with the index that knows most: if it leads to few rows they are collected and put in order; otherwise
an index that is in the wanted order is walked for a stretch, and a page ends where the stretch does.
"""

# ruff: noqa: S608 -- what is put into the SQL is conditions of our own; every value is a parameter.

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, replace
from typing import Any, Final, TypeVar

from hmsactd.store.awaited import count_awaited
from hmsactd.store.beginnings import SPAN_OF, Beginning, base, beginnings
from hmsactd.store.conditions import IN, Clause, conditions_of, joined, within
from hmsactd.store.rows import SUMMARY_COLUMNS, summary_of
from hmsactd.store.store import By, Counted, Page, Position
from hmsactd.store.where import Order, Where
from hmsactd.store.words import begins

COLLECTED_MAX: Final = 3_000
"""Rows that are read and put in order for one page: about 10 ms."""

STRETCH: Final = 5_000
"""Rows of an index that are walked for one page: about 20 ms if every one has to be looked up, with its labels."""

LOOKED_UP_MAX: Final = 10_000
"""Operations that are looked up to be counted: about 20 ms."""

COMPARED_MAX: Final = 40_000
"""Entries of two indexes that are counted to learn which of them is shorter: about 4 ms each."""

COUNTED_MAX: Final = 200_000
"""Entries of an index that are counted: about 20 ms."""

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Search:
    """One filter in one namespace, put to one connection."""

    connection: sqlite3.Connection
    namespace: str
    where: Where

    # -- pages ---------------------------------------------------------------------------------------------------------

    def page(self, order: Order, after: Position | None, limit: int, *, oldest_first: bool) -> Page:
        """A page in an order, beyond a position."""
        return self._at_once(lambda: self._page(Walk(order, after, limit, oldest_first)))

    def _page(self, walk: Walk) -> Page:
        found = self._definitions_found()
        beginning, is_small = self._beginning(walk.order, found)
        conditions = conditions_of(self.namespace, self.where, found)
        end = None if is_small or self._sees_to_all(beginning) else self._end_of_stretch(beginning, walk)
        positions = self._positions(beginning, conditions, walk, end)
        page, rest = positions[: walk.limit], positions[walk.limit :]
        summaries = self._summaries(number for _, number in page)
        beyond = page[-1] if rest else end
        return Page(tuple((position, summaries[position[1]]) for position in page), beyond)

    def _beginning(self, order: Order, found: list[list[str]]) -> tuple[Beginning, bool]:
        """Where to begin, and whether all of that is few enough to be collected."""
        options = list(beginnings(self.namespace, self.where, found))
        sized = [(self._size(option, COLLECTED_MAX + 1), at) for at, option in enumerate(options)]
        if sized and (smallest := min(sized))[0] <= COLLECTED_MAX:
            return options[smallest[1]], True
        in_order = [option for option in options if option.order is order]
        if len(in_order) > 1:
            in_order.sort(key=lambda option: self._size(option, COMPARED_MAX))
        return (in_order[0] if in_order else base(self.namespace, order, self.where)), False

    def _end_of_stretch(self, beginning: Beginning, walk: Walk) -> Position | None:
        """The position at which the walk ends; None if it comes to the end of all."""
        sql, values = self._walked(beginning.alone, beginning, walk, ("", ()), None)
        end: Position | None = self.connection.execute(f"{sql} LIMIT 1 OFFSET ?", (*values, STRETCH - 1)).fetchone()
        return end

    def _positions(self, beginning: Beginning, conditions: Clause, walk: Walk, end: Position | None) -> list[Position]:
        sql, values = self._walked(beginning.joined, beginning, walk, conditions, end)
        return self.connection.execute(f"{sql} LIMIT ?", (*values, walk.limit + 1)).fetchall()

    def _walked(
        self, source: str, beginning: Beginning, walk: Walk, conditions: Clause, end: Position | None
    ) -> Clause:
        """Positions of rows, in order: each range by itself, merged."""
        # A range that is in our order has the time in its own table; what is collected has it only in operations.
        table = beginning.table if beginning.order is walk.order else "operation"
        at, number = f"{table}.{walk.order}", f"{table}.number"
        bounds = [conditions] if conditions[0] else []
        if beginning.order is walk.order and (span := getattr(self.where, SPAN_OF[walk.order])):
            bounds.append(within(at, span))
        elif walk.order in (Order.ENDED, Order.DUE):
            bounds.append((f"{at} IS NOT NULL", ()))
        bounds += [
            (f"({at}, {number}) {sign} (?, ?)", position)
            for sign, position in ((walk.beyond, walk.after), (walk.until, end))
            if position is not None
        ]
        ranges = [joined([each, *bounds]) for each in beginning.ranges]
        sql = " UNION ALL ".join(
            f"SELECT {at} AS at, {number} AS number FROM {source} WHERE {told}" for told, _ in ranges
        )
        values = tuple(value for _, several in ranges for value in several)
        way = "ASC" if walk.oldest_first else "DESC"
        ordered = "at {0}, number {0}" if len(ranges) > 1 else f"{at} {{0}}, {number} {{0}}"
        return f"{sql} ORDER BY {ordered.format(way)}", values

    def _summaries(self, numbers: Iterable[int]) -> dict[int, Any]:
        sql = f"SELECT number, {SUMMARY_COLUMNS} FROM operation WHERE number {IN}"
        rows = self.connection.execute(sql, (json.dumps(list(numbers)),))
        return {row[0]: summary_of(row[1:]) for row in rows}

    # -- counts --------------------------------------------------------------------------------------------------------

    def count(self, by: By | None) -> Counted:
        """How many there are, and how many in each group."""
        return self._at_once(lambda: self._tallied(by) or self._counted(by))

    def _tallied(self, by: By | None) -> Counted | None:
        """From what is kept of each definition and state, or an index of what is awaited; None if they do not tell."""
        said = self._said()
        if said <= {"states", "definitions"} and by in (None, By.STATE, By.DEFINITION):
            wanted = {"state": self.where.states, "definition": self.where.definitions}
            return self._summed(f"SELECT {by or By.STATE}, sum(count) FROM tally", wanted, by)
        if said <= {"awaits", "awaits_who"} and by not in (By.STATE, By.DEFINITION):
            awaited = count_awaited(self.connection, self.namespace, self.where, by, COUNTED_MAX)
            # Of all there are, those that await nobody are in no index of what is awaited.
            return awaited if said else replace(awaited, count=self._all())
        return None

    def _all(self) -> int:
        sql = "SELECT coalesce(sum(count), 0) FROM tally WHERE namespace = ?"
        count: int = self.connection.execute(sql, (self.namespace,)).fetchone()[0]
        return count

    def _summed(self, sql: str, wanted: dict[str, tuple[str, ...]], by: By | None) -> Counted:
        clauses: list[Clause] = [("namespace = ?", (self.namespace,))]
        clauses += [(f"{name} {IN}", (json.dumps(some, ensure_ascii=False),)) for name, some in wanted.items() if some]
        conditions, values = joined(clauses)
        rows = self.connection.execute(f"{sql} WHERE {conditions} GROUP BY 1 ORDER BY 1", values).fetchall()
        return _counted_by(rows, by, is_exact=True)

    def _counted(self, by: By | None) -> Counted:
        found = self._definitions_found()
        options = list(beginnings(self.namespace, self.where, found)) or [
            base(self.namespace, Order.STARTED, self.where)
        ]
        sized = [(self._size(option, LOOKED_UP_MAX + 1), at) for at, option in enumerate(options)]
        size, at = min(sized)
        if by is None and (all_seen_to := [option for option in options if self._sees_to_all(option)]):
            count = self._size(all_seen_to[0], COUNTED_MAX + 1)
            return Counted(min(count, COUNTED_MAX), count <= COUNTED_MAX)
        numbers, first = options[at].numbers
        conditions, rest = conditions_of(self.namespace, self.where, found)
        group = _GROUPS[by] if by else "''"
        sql = (
            f"SELECT {group}, count(*) FROM (SELECT DISTINCT number FROM ({numbers}) LIMIT ?) AS found"
            f" CROSS JOIN operation ON operation.number = found.number WHERE {conditions} GROUP BY 1 ORDER BY 1"
        )
        rows = self.connection.execute(sql, (*first, LOOKED_UP_MAX, *rest)).fetchall()
        return _counted_by(rows, by, is_exact=size <= LOOKED_UP_MAX)

    # -- both ----------------------------------------------------------------------------------------------------------

    def _at_once(self, work: Callable[[], Result]) -> Result:
        """What it returns is of one moment, though it asks more than one question."""
        self.connection.execute("BEGIN")
        try:
            return work()
        finally:
            self.connection.execute("COMMIT")

    def _size(self, beginning: Beginning, most: int) -> int:
        numbers, values = beginning.numbers
        sql = f"SELECT count(*) FROM (SELECT 1 FROM ({numbers}) LIMIT ?)"
        size: int = self.connection.execute(sql, (*values, most)).fetchone()[0]
        return size

    def _definitions_found(self) -> list[list[str]]:
        """For each word, the definitions whose name has it."""
        if not self.where.words:
            return []
        rows = self.connection.execute("SELECT DISTINCT definition FROM tally WHERE namespace = ?", (self.namespace,))
        names = [name for (name,) in rows]
        return [[name for name in names if begins(word, name)] for word in self.where.words]

    def _said(self) -> set[str]:
        return {field.name for field in fields(self.where) if getattr(self.where, field.name) not in ((), None)}

    def _sees_to_all(self, beginning: Beginning) -> bool:
        return self._said() | {"namespace"} <= beginning.said


@dataclass(frozen=True, slots=True)
class Walk:
    """Which way, from where and how far."""

    order: Order
    after: Position | None
    limit: int
    oldest_first: bool

    @property
    def beyond(self) -> str:
        """How a position compares with the one it is beyond."""
        return ">" if self.oldest_first else "<"

    @property
    def until(self) -> str:
        """How a position compares with the last one."""
        return "<=" if self.oldest_first else ">="


_GROUPS: Final = {
    By.STATE: "operation.state",
    By.DEFINITION: "operation.definition",
    By.ROLE: "iif(operation.awaits = 'decision', operation.awaits_who, '')",
    By.SERVICE: "iif(operation.awaits NOT IN ('decision', ''), operation.awaits_who, '')",
}


def _counted_by(rows: list[tuple[str, int]], by: By | None, *, is_exact: bool) -> Counted:
    """Sums up. What is in no group, or in one that has come to nothing, is in none that is told."""
    groups = tuple((name, count) for name, count in rows if name and count) if by else ()
    return Counted(sum(count for _, count in rows), is_exact, groups)
