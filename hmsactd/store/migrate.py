"""Brings a database to the schema that this version knows: numbered files in sql/, each applied once, in order."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files

from hmsactd.store.errors import DataRefused
from hmsactd.store.words import words_of_row


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered file."""

    version: int
    name: str
    script: str

    @property
    def checksum(self) -> str:
        """By which a file that was changed after it was applied is found."""
        return hashlib.sha256(self.script.encode()).hexdigest()


def known_migrations() -> list[Migration]:
    """Returns the migrations of this version, in order."""
    scripts = sorted(
        (file for file in (files("hmsactd.store") / "sql").iterdir() if file.name.endswith(".sql")),
        key=lambda file: file.name,
    )
    return [Migration(int(file.name.split("_")[0]), file.name, file.read_text("utf-8")) for file in scripts]


def migrate(connection: sqlite3.Connection, migrations: Sequence[Migration]) -> None:
    """Applies what is missing, all or nothing; raises DataRefused if the data is newer or was migrated otherwise."""
    versions = [migration.version for migration in migrations]
    # Branches that are merged may each have brought the same number, and data would have one and lack the other.
    assert versions == list(range(1, len(versions) + 1)), f"migrations are numbered from 1, each once: {versions}"
    # What 0002 asks of operations that are there already.
    connection.create_function("words_of_row", 3, words_of_row, deterministic=True)
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.execute(
            "CREATE TABLE IF NOT EXISTS schema_migrations"
            " (version INTEGER PRIMARY KEY, name TEXT NOT NULL, checksum TEXT NOT NULL) STRICT"
        )
        applied = applied_migrations(connection)
        refuse_unknown(applied, migrations)
        for migration in migrations:
            if migration.version not in applied:
                _apply(connection, migration)
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def applied_migrations(connection: sqlite3.Connection) -> dict[int, str]:
    """The checksums of what was applied, by version."""
    return dict(connection.execute("SELECT version, checksum FROM schema_migrations"))


def refuse_unknown(applied: dict[int, str], migrations: Sequence[Migration]) -> None:
    """Raises DataRefused for data that this version would misread."""
    known = {migration.version: migration for migration in migrations}
    newest = max(known)
    if applied and max(applied) > newest:
        raise DataRefused(
            f"the data was written by a newer hmsactd: its schema is {max(applied)}, this version knows {newest}"
        )
    for version, checksum in applied.items():
        if version not in known or known[version].checksum != checksum:
            raise DataRefused(f"migration {version} of the data is not the one that this version has")


def _apply(connection: sqlite3.Connection, migration: Migration) -> None:
    for statement in _statements(migration.script):
        connection.execute(statement)
    connection.execute(
        "INSERT INTO schema_migrations VALUES (?, ?, ?)", (migration.version, migration.name, migration.checksum)
    )


def _statements(script: str) -> Iterator[str]:
    # executescript would commit on its own, in the middle of the migration.
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
    assert not statement.strip(), "a migration ends with a whole statement"
