"""Brings to the disk for certain what SQLite leaves to chance: the end of its journal, and the names of its files."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path


def bring_to_disk(connection: sqlite3.Connection) -> None:
    """Writes what the journal shows into the database and cuts the journal to nothing; raises sqlite3.Error.

    Who reads is waited for as long as the connection waits for a lock. Nothing is lost if that isn't long enough, so
    whoever raises for it can be asked again.
    """
    (is_busy, *_), *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    if is_busy:
        raise sqlite3.OperationalError("readers keep the journal from being written back")


def bring_names_to_disk(directory: Path) -> None:
    """Returns once the names of the files in a directory are on the disk; raises OSError.

    SQLite does so for a journal that it makes, and doesn't say whether it has failed; for the database it never does.
    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
