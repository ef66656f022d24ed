"""What an error means: a word for callers, whatever SQLite calls it."""

import errno
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from hmsactd.store.condition import Condition
from hmsactd.store.errors import Trouble, Unavailable
from hmsactd.store.trouble import ROOM_MIN_BYTES, SENTENCES, free_bytes, trouble_of, unavailable


def error_of(code: int) -> sqlite3.Error:
    error = sqlite3.OperationalError("said by SQLite")
    error.sqlite_errorcode = code
    return error


CODES = {
    sqlite3.SQLITE_FULL: Trouble.DISK_FULL,
    sqlite3.SQLITE_READONLY: Trouble.READ_ONLY,
    sqlite3.SQLITE_READONLY | 4 << 8: Trouble.READ_ONLY,
    sqlite3.SQLITE_IOERR: Trouble.IO_ERROR,
    sqlite3.SQLITE_IOERR_FSYNC: Trouble.IO_ERROR,
    sqlite3.SQLITE_IOERR_WRITE: Trouble.IO_ERROR,
    sqlite3.SQLITE_IOERR_READ: Trouble.IO_ERROR,
    sqlite3.SQLITE_IOERR_SHORT_READ: Trouble.IO_ERROR,
    sqlite3.SQLITE_IOERR_SHMSIZE: Trouble.IO_ERROR,
    sqlite3.SQLITE_CORRUPT: Trouble.CORRUPT,
    sqlite3.SQLITE_NOTADB: Trouble.CORRUPT,
    sqlite3.SQLITE_BUSY: Trouble.UNAVAILABLE,
    sqlite3.SQLITE_LOCKED: Trouble.UNAVAILABLE,
    sqlite3.SQLITE_CANTOPEN: Trouble.UNAVAILABLE,
}


@pytest.mark.parametrize(("code", "expected"), CODES.items())
def test_every_code_has_its_word(code: int, expected: Trouble, tmp_path: Path) -> None:
    assert trouble_of(error_of(code), tmp_path) is expected
    assert str(unavailable(error_of(code), tmp_path)) == f"{SENTENCES[expected]} (said by SQLite)"


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (errno.ENOSPC, Trouble.DISK_FULL),
        (errno.EDQUOT, Trouble.DISK_FULL),
        (errno.EROFS, Trouble.READ_ONLY),
        (errno.EIO, Trouble.IO_ERROR),
        (errno.EMFILE, Trouble.UNAVAILABLE),
    ],
)
def test_so_has_every_error_of_the_system(number: int, expected: Trouble, tmp_path: Path) -> None:
    assert trouble_of(OSError(number, "said by the system"), tmp_path) is expected


def disk(*, free: int = 2**40, flags: int = 0) -> Callable[[Path], os.statvfs_result]:
    """What the system says of a disk with so much room."""
    said = os.statvfs_result((4096, 4096, 2**40, 2**40, free // 4096, 99, 99, 99, flags, 255))
    return lambda _: said


@pytest.mark.parametrize(
    ("code", "there", "expected"),
    [
        (sqlite3.SQLITE_IOERR_WRITE, disk(free=ROOM_MIN_BYTES - 4096), Trouble.DISK_FULL),
        (sqlite3.SQLITE_IOERR_WRITE, disk(free=ROOM_MIN_BYTES), Trouble.IO_ERROR),
        (sqlite3.SQLITE_IOERR_WRITE, disk(flags=os.ST_RDONLY), Trouble.READ_ONLY),
        (sqlite3.SQLITE_CANTOPEN, disk(free=0), Trouble.DISK_FULL),
        (sqlite3.SQLITE_CANTOPEN, disk(flags=os.ST_RDONLY), Trouble.READ_ONLY),
        (sqlite3.SQLITE_CORRUPT, disk(free=0), Trouble.CORRUPT),
    ],
)
def test_what_sqlite_calls_an_error_of_the_disk_is_named_by_asking_the_disk(
    code: int,
    there: Callable[[Path], os.statvfs_result],
    expected: Trouble,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "statvfs", there)
    assert trouble_of(error_of(code), tmp_path) is expected


def test_a_disk_that_is_gone_says_nothing_more_about_an_error(tmp_path: Path) -> None:
    assert trouble_of(error_of(sqlite3.SQLITE_IOERR), tmp_path / "gone") is Trouble.IO_ERROR
    with pytest.raises(FileNotFoundError):
        free_bytes(tmp_path / "gone")


def test_no_memory_is_told_as_such(tmp_path: Path) -> None:
    failed = unavailable(MemoryError(), tmp_path)
    assert (failed.trouble, str(failed)) == (Trouble.UNAVAILABLE, "the database does not answer (out of memory)")


def test_trouble_is_said_when_it_begins_and_when_it_ends_however_often_it_is_met() -> None:
    condition, heard = Condition(), list[str | None]()
    condition.on_change(lambda trouble: heard.append(trouble.reason if trouble else None))
    with capture_logs() as lines:
        for _ in range(100):
            condition.failed(Unavailable("full", Trouble.DISK_FULL))
        condition.recovered()
        condition.recovered()
    assert heard == ["DISK_FULL", None]
    assert [line["log_level"] for line in lines] == ["error", "warning"]


def test_failures_that_are_over_at_once_are_not_said_each_time() -> None:
    condition = Condition()
    with capture_logs() as lines:
        for _ in range(100):
            condition.passed(Unavailable("once", Trouble.IO_ERROR))
    assert len(lines) == 1
    assert condition.trouble is None


def test_what_is_broken_is_never_well_again() -> None:
    condition = Condition()
    with capture_logs():
        condition.failed(Unavailable("damaged", Trouble.CORRUPT))
        condition.recovered()
    assert condition.broken.is_set()
    assert condition.trouble is not None


def test_damage_is_said_once_however_many_meet_it() -> None:
    condition, heard = Condition(), list[str | None]()
    condition.on_change(lambda trouble: heard.append(trouble.reason if trouble else None))
    with capture_logs() as lines:
        for _ in range(100):
            condition.break_down(Unavailable("damaged", Trouble.CORRUPT))
    assert heard == ["STORE_CORRUPT"]
    assert [line["log_level"] for line in lines] == ["critical"]
