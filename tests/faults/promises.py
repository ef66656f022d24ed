"""What must hold in a data directory, whatever happened to its disk: held against what everybody was told."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from hmsactd.store.sqlite import DATABASE_FILE
from tests.crash import record
from tests.faults.life import Heard


def check_told(data: Path, heard: Heard, key: str) -> None:
    """What anybody was told is true: acknowledged is kept, refused is not there, reported is done, and once."""
    log = record.read(data)
    record.check_seal(log, key)
    record.check_chains(log)
    for done in heard.acknowledged:
        assert done.receipt.index < len(log.leaves), f"acknowledged and lost: {done}"
        assert log.leaves[done.receipt.index] == done.receipt.leaf, f"acknowledged and changed: {done}"
    names = _names(data)
    assert len(set(names)) == len(names), "whatever somebody insisted on was begun once"
    assert not heard.not_recorded & set(names), "recorded after it was said not to be"
    outcomes = {
        (operation, told["subject"]["instance"], told["subject"]["attempt"])
        for operation, records in log.operations.items()
        for told in records
        if told["kind"] in ("step_done", "step_failed")
    }
    assert heard.reported <= outcomes, "a worker was told that its report is recorded"


def check_whole(data: Path, heard: Heard) -> None:
    """Once all is over there is nothing of which nobody was told, and what was erased is gone."""
    assert set(heard.ids) <= set(_names(data)) <= set(heard.ids) | heard.in_doubt
    forgotten = (heard.ids["forgotten"],)
    assert _rows(data, "SELECT payload_key FROM operation WHERE operation = ?", *forgotten) == [(None,)]
    assert _rows(data, "SELECT name FROM payload WHERE operation = ?", *forgotten) == []


def _names(data: Path) -> list[str]:
    return [name for (name,) in _rows(data, "SELECT definition FROM operation")]


def _rows(data: Path, sql: str, *parameters: str) -> list[Any]:
    with closing(sqlite3.connect(data / DATABASE_FILE)) as database:
        return database.execute(sql, parameters).fetchall()
