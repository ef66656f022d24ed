"""What is seen of a damaged database before anything is written to it, and what its operator is told."""

import errno
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from hmsactd.store import look
from hmsactd.store.errors import DataRefused
from hmsactd.store.look import connected, faults, refusal, refuse_damaged
from hmsactd.store.sqlite import DATABASE_FILE, SqliteStore
from tests.store.batches import Writer, summary
from tests.store.damage import flip_first_page_of
from tests.store.stores import BIRTH


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    """A database in good order, of many pages, that nobody has open."""
    store = SqliteStore(tmp_path / DATABASE_FILE)
    writer = Writer(store, await store.open(BIRTH))
    await writer.keep(summary("op_1", sequence=500))
    await store.close()
    return tmp_path / DATABASE_FILE


def add_an_index_that_misses_rows(path: Path) -> None:
    """Makes an index over no row, and says afterwards that it is over all: its pages are in order."""
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            "CREATE INDEX by_state ON operation (state) WHERE state = 'nowhere';"
            "PRAGMA writable_schema = ON;"
            "UPDATE sqlite_schema SET sql = 'CREATE INDEX by_state ON operation (state)' WHERE name = 'by_state';"
        )


def test_what_is_in_order_or_not_begun_yet_is_not_refused(path: Path, tmp_path: Path) -> None:
    refuse_damaged(path)
    refuse_damaged(tmp_path / "not-there.db")
    (tmp_path / "empty.db").write_bytes(b"")
    refuse_damaged(tmp_path / "empty.db")


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "cut within a page": (lambda path: path.write_bytes(path.read_bytes()[:-100]), r"it has \d+ bytes of \d+"),
    "no database": (lambda path: path.write_bytes(b"Dear Sir or Madam,\n" * 999), "file is not a database"),
    "a page of records": (lambda path: flip_first_page_of(path, "event"), "malformed|[Pp]age"),
    "the log's one row": (lambda path: flip_first_page_of(path, "log"), "malformed|[Pp]age"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_refused_with_what_it_is_and_what_to_do(path: Path, damage: str) -> None:
    do, said = DAMAGE[damage]
    do(path)
    with pytest.raises(DataRefused, match=rf"hmsactd\.db is damaged \(.*({said}).*\): restore the data directory"):
        refuse_damaged(path)


def test_of_a_large_database_only_what_every_start_depends_on_is_looked_at(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(look, "READ_WHOLE_MAX_BYTES", 0)
    refuse_damaged(path)
    flip_first_page_of(path, "event")
    refuse_damaged(path)
    with closing(connected(path)) as connection:
        assert next(faults(connection, is_whole=True), None)
    flip_first_page_of(path, "log")
    with pytest.raises(DataRefused, match="is damaged"):
        refuse_damaged(path)


def test_a_file_behind_its_journal_is_not_cut_off(path: Path) -> None:
    journal = path.with_name(path.name + "-wal")
    with closing(connected(path)) as connection:
        path.write_bytes(path.read_bytes()[:-100])
        assert look.cut_off(connection, path) is not None
        journal.write_bytes(b"")
        assert look.cut_off(connection, path) is not None
        journal.write_bytes(b"pages that are not in the file yet")
        assert look.cut_off(connection, path) is None


def test_an_index_that_misses_rows_is_found_by_a_thorough_look_alone(path: Path) -> None:
    add_an_index_that_misses_rows(path)
    refuse_damaged(path)
    with closing(connected(path)) as connection:
        assert list(faults(connection, is_whole=True)) == []
        assert "row 1 missing from index by_state" in list(faults(connection, is_whole=True, is_thorough=True))


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.ENOSPC, "make room on its disk, then start again"),
        (errno.EROFS, "let the user that the daemon runs as write to it, or mount its file system for writing"),
        (errno.EIO, "look at the disk and at the system's log"),
        (errno.EMFILE, "see whether another program uses it"),
    ],
)
def test_what_is_no_damage_is_not_called_so_and_comes_with_advice(path: Path, number: int, advice: str) -> None:
    said = str(refusal(path, OSError(number, "said by the system")))
    assert "can't be used" in said
    assert advice in said
    assert "damaged" not in said
