"""Looks at a database before anything is written to it, and says in a sentence why it can't be used.

The work is bounded: a database of usual size is read once, of a larger one what every start depends on.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final, assert_never

from hmsactd.store.errors import RESTORE, DataRefused, Trouble
from hmsactd.store.trouble import trouble_of

READ_WHOLE_MAX_BYTES: Final = 64 * 1024 * 1024
"""Up to this size all of it is checked at a start: about a quarter of a second."""

SMALL_TABLES: Final = ("log", "schema_migrations", "rollback")
FAULTS_MAX: Final = 10


def refuse_damaged(path: Path) -> None:
    """Raises DataRefused for a file that is no database, is cut off, or is damaged where that is soon found."""
    if not path.exists() or path.stat().st_size == 0:
        # Nothing was begun yet; whether that may be is said by the file with the name of the log.
        return
    try:
        with closing(connected(path)) as connection:
            is_small = path.stat().st_size <= READ_WHOLE_MAX_BYTES
            fault = cut_off(connection, path) or next(faults(connection, is_whole=is_small), None)
    except (sqlite3.Error, OSError) as error:
        raise refusal(path, error) from error
    if fault is not None:
        raise DataRefused(f"the database {path} is damaged ({fault}): {RESTORE}")


def refusal(path: Path, error: Exception) -> DataRefused:
    """Says why a database can't be opened, and what to do; only damage is called damage."""
    match trouble_of(error, path.parent):
        case Trouble.CORRUPT:
            return DataRefused(f"the database {path} is damaged ({error}): {RESTORE}")
        case Trouble.DISK_FULL:
            advice = "make room on its disk, then start again"
        case Trouble.READ_ONLY:
            advice = "let the user that the daemon runs as write to it, or mount its file system for writing"
        case Trouble.IO_ERROR:
            advice = "look at the disk and at the system's log (dmesg) before you start again"
        case Trouble.UNAVAILABLE:
            advice = "see whether another program uses it, and what the system's log says; then start again"
        case unknown:
            assert_never(unknown)
    return DataRefused(f"the database {path} can't be used ({error}): {advice}")


def connected(path: Path) -> sqlite3.Connection:
    """A connection that can't write."""
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=5)


def cut_off(connection: sqlite3.Connection, path: Path) -> str | None:
    """Says whether the file lacks an end. While a journal is there the file may lawfully be behind it."""
    journal = path.with_name(path.name + "-wal")
    if journal.exists() and journal.stat().st_size:
        return None
    ((pages,),) = connection.execute("PRAGMA page_count").fetchall()
    ((page_bytes,),) = connection.execute("PRAGMA page_size").fetchall()
    size = path.stat().st_size
    return None if size >= pages * page_bytes else f"it has {size} bytes of {pages * page_bytes}"


def faults(connection: sqlite3.Connection, *, is_whole: bool, is_thorough: bool = False) -> Iterator[str]:
    """What SQLite finds wrong; `is_thorough` also compares every index with its table."""
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    check = "integrity_check" if is_thorough else "quick_check"
    asked = (
        [f"{check}({FAULTS_MAX})"] if is_whole else [f"{check}({table})" for table in SMALL_TABLES if table in tables]
    )
    for pragma in asked:
        for (said,) in connection.execute(f"PRAGMA {pragma}"):
            if said != "ok":
                yield " ".join(said.split())
