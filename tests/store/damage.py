"""Damages a database that nobody has open, as a disk or a person would."""

import sqlite3
from contextlib import closing
from pathlib import Path


def tamper(database: Path, *statements: str) -> None:
    """Writes past everything that guards what was written."""
    with closing(sqlite3.connect(database)) as connection:
        for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'").fetchall():
            connection.execute(f"DROP TRIGGER {name}")
        for statement in statements:
            connection.execute(statement)
        connection.commit()
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def flip_first_page_of(database: Path, table: str) -> None:
    """Flips the first bytes of a table's first page: its header, then, for more than one page, its tree."""
    with closing(sqlite3.connect(database)) as connection:
        ((root,),) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (table,)).fetchall()
        ((page_bytes,),) = connection.execute("PRAGMA page_size").fetchall()
    content = bytearray(database.read_bytes())
    for at in range((root - 1) * page_bytes, (root - 1) * page_bytes + 64):
        content[at] ^= 0xFF
    database.write_bytes(content)
