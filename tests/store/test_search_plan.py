"""No question of a list or a count reads the whole table, and none that walks an order puts it in order first."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import fields
from pathlib import Path

import pytest

from hmsactd.store import search
from hmsactd.store.migrate import known_migrations, migrate
from hmsactd.store.search import Search
from hmsactd.store.store import By
from hmsactd.store.where import EVERYTHING, Order, Span, Where
from tests.store.test_finding import CASES

EVERY_FIELD = Where(
    states=("waiting",),
    definitions=("loan",),
    key="k",
    key_prefix="k",
    started_by="dev:x",
    requested_by="Jane",
    labels=(("a", "b"),),
    labels_there=("a",),
    words=("loan",),
    awaits=("decision",),
    awaits_who=("officer",),
    awaits_name=("review",),
    awaits_person="dev:x",
    alarms=("breached",),
    started=Span(1),
    updated=Span(1),
    ended=Span(1),
    due=Span(1),
)


class Explained:
    """A connection that keeps the plan of everything that is asked."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.plans: list[tuple[str, list[str]]] = []

    def execute(self, sql: str, parameters: tuple[object, ...] = ()) -> sqlite3.Cursor:
        if sql.startswith("SELECT"):
            rows = self.connection.execute(f"EXPLAIN QUERY PLAN {sql}", parameters)
            self.plans.append((sql, [row[3] for row in rows]))
        return self.connection.execute(sql, parameters)


@pytest.fixture
def explained(tmp_path: Path) -> Iterator[Explained]:
    with closing(sqlite3.connect(tmp_path / "plans.db", isolation_level=None)) as connection:
        migrate(connection, known_migrations())
        # One operation, so that no size is nothing and every index is a place to begin.
        columns = {row[1]: row for row in connection.execute("PRAGMA table_info(operation)")}
        told = {name: "x" if row[2] == "TEXT" else 1 for name, row in columns.items()} | {
            "namespace": "default",
            "labels": "[]",
            "alarms": "{}",
            "head": b"",
            "payload_key": b"",
        }
        connection.execute(f"INSERT INTO operation VALUES ({', '.join('?' * len(told))})", tuple(told.values()))
        yield Explained(connection)


def questions() -> Iterator[Where]:
    yield from CASES
    yield EVERYTHING
    yield EVERY_FIELD
    for field in fields(Where):
        yield Where(**{field.name: getattr(EVERY_FIELD, field.name)})


@pytest.mark.parametrize("collected", [4_000, -1])
def test_no_search_scans_the_table(explained: Explained, monkeypatch: pytest.MonkeyPatch, collected: int) -> None:
    monkeypatch.setattr(search, "COLLECTED_MAX", collected)
    for where in questions():
        asked = Search(explained, "default", where)  # type: ignore[arg-type]
        for order in Order:
            for oldest_first in (True, False):
                asked.page(order, (5, 5), 50, oldest_first=oldest_first)
        for by in (None, *By):
            asked.count(by)
    assert len(explained.plans) > 1_000
    for sql, plan in explained.plans:
        for line in plan:
            assert not (line.startswith("SCAN operation") and "USING" not in line), (sql, plan)
            assert not (line.startswith(("SCAN label", "SCAN word"))), (sql, plan)


def test_a_walk_in_an_order_is_not_put_in_order_first(explained: Explained, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "COLLECTED_MAX", -1)
    for where in questions():
        for order in Order:
            Search(explained, "default", where).page(order, (5, 5), 50, oldest_first=False)  # type: ignore[arg-type]
    walks = [(sql, plan) for sql, plan in explained.plans if "ORDER BY" in sql]
    assert walks
    for sql, plan in walks:
        assert not any("TEMP B-TREE" in line for line in plan), (sql, plan)
