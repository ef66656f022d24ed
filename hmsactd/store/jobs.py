"""Jobs in SQLite: how they are written, in the transaction of a batch, and the questions that are asked about them."""

# ruff: noqa: S608 -- what is put into the SQL is names of our own columns; every value is a parameter.

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import astuple, fields
from typing import Any, Final, assert_never

from hmsactd.store.job import JobChange, JobForgotten, JobRow, JobWrite, ResultRow
from hmsactd.store.many import many
from hmsactd.store.select import Question


def write_jobs(connection: sqlite3.Connection, writes: Sequence[JobWrite]) -> None:
    """Writes what has become of jobs."""
    for each in writes:
        match each:
            case JobChange():
                connection.execute(_PUT_JOB, astuple(each.job))
                many(connection, _put_results, [astuple(result) for result in each.results])
            case JobForgotten():
                _forget(connection, each)
            case _:
                assert_never(each)


def _forget(connection: sqlite3.Connection, gone: JobForgotten) -> None:
    place = (gone.namespace, gone.job)
    some = "SELECT number FROM job_result WHERE namespace = ? AND job = ? ORDER BY number LIMIT ?"
    last = connection.execute(f"SELECT max(number) FROM ({some})", (*place, gone.results_max)).fetchone()[0]
    if last is not None:
        connection.execute("DELETE FROM job_result WHERE namespace = ? AND job = ? AND number <= ?", (*place, last))
    if not connection.execute("SELECT 1 FROM job_result WHERE namespace = ? AND job = ? LIMIT 1", place).fetchone():
        connection.execute("DELETE FROM job WHERE namespace = ? AND job = ?", place)


def job_of(row: Sequence[Any]) -> JobRow:
    """Returns the job of a row of JOB_COLUMNS."""
    values = dict(zip(_JOB, row, strict=True))
    return JobRow(**{**values, **{name: bool(values[name]) for name in ("is_exact", "is_listed")}})


def jobs(namespace: str, before: tuple[int, str] | None, limit: int) -> Question:
    """Asks for a page of jobs, the newest first. They are few: no index keeps them in this order."""
    beyond = "" if before is None else " AND (started_at, job) < (?, ?)"
    sql = f"SELECT {_JOB_COLUMNS} FROM job WHERE namespace = ?{beyond} ORDER BY started_at DESC, job DESC LIMIT ?"
    return sql, (namespace, *(before or ()), limit)


def results(namespace: str, job: str, after: int, outcome: str | None, limit: int) -> Question:
    """Asks for a page of results, in the order of their turns."""
    one, values = ("", ()) if outcome is None else (" AND outcome = ?", (outcome,))
    sql = (
        f"SELECT {_RESULT_COLUMNS} FROM job_result WHERE namespace = ? AND job = ?{one} AND number > ?"
        " ORDER BY number LIMIT ?"
    )
    return sql, (namespace, job, *values, after, limit)


_JOB: Final = tuple(field.name for field in fields(JobRow))
_JOB_COLUMNS: Final = ", ".join(_JOB)
_RESULT: Final = tuple(field.name for field in fields(ResultRow))
_RESULT_COLUMNS: Final = ", ".join(_RESULT)

JOB: Final = f"SELECT {_JOB_COLUMNS} FROM job WHERE namespace = ? AND job = ?"
OPEN_JOBS: Final = f"SELECT {_JOB_COLUMNS} FROM job WHERE ended_at IS NULL ORDER BY namespace, job"
OLD_JOBS: Final = (
    "SELECT namespace, job FROM (SELECT namespace, job, ended_at, row_number() OVER"
    " (PARTITION BY namespace ORDER BY started_at DESC, job DESC) AS place FROM job WHERE ended_at IS NOT NULL)"
    " WHERE ended_at < ? OR place > ? ORDER BY namespace, job LIMIT ?"
)
JOB_BY_REQUEST: Final = (
    f"SELECT {_JOB_COLUMNS} FROM job WHERE namespace = ? AND starter = ? AND action = ? AND request_id = ?"
    " AND request_id <> ''"
)
_BORN: Final = ("namespace", "job", "action", "starter", "principal", "request_id", "digest", "started_at")
_PUT_JOB: Final = (
    f"INSERT INTO job ({_JOB_COLUMNS}) VALUES ({', '.join('?' * len(_JOB))})"
    f" ON CONFLICT (namespace, job) DO UPDATE SET {', '.join(f'{n} = excluded.{n}' for n in _JOB if n not in _BORN)}"
)


def _put_results(rows: int, width: int) -> str:
    row = f"({', '.join('?' * width)})"
    return f"INSERT OR REPLACE INTO job_result ({_RESULT_COLUMNS}) VALUES {', '.join([row] * rows)}"
