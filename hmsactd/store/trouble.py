"""What an error of SQLite, or of the system below it, means for callers: one word, and a sentence.

SQLite says "disk I/O error" for several things that an operator would name otherwise, so the disk is asked, too.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from pathlib import Path
from typing import Final

from hmsactd.store.errors import Trouble, Unavailable

ROOM_MIN_BYTES: Final = 1024 * 1024
"""A disk with less room than this is full: a commit of usual size, and the journal's growth, need about as much."""

SENTENCES: Final = {
    Trouble.DISK_FULL: "the disk is full",
    Trouble.READ_ONLY: "the data directory can't be written: its file system or its files are read-only",
    Trouble.IO_ERROR: "the disk reports an error",
    Trouble.CORRUPT: "the database is damaged",
    Trouble.UNAVAILABLE: "the database does not answer",
}

_PRIMARY: Final = {
    sqlite3.SQLITE_FULL: Trouble.DISK_FULL,
    sqlite3.SQLITE_READONLY: Trouble.READ_ONLY,
    sqlite3.SQLITE_PERM: Trouble.READ_ONLY,
    sqlite3.SQLITE_IOERR: Trouble.IO_ERROR,
    sqlite3.SQLITE_CORRUPT: Trouble.CORRUPT,
    sqlite3.SQLITE_NOTADB: Trouble.CORRUPT,
}
"""By the low byte of the code. Whatever is not here (busy, locked, out of descriptors) passes, or is looked into."""

_ERRNO: Final = {
    errno.ENOSPC: Trouble.DISK_FULL,
    errno.EDQUOT: Trouble.DISK_FULL,
    errno.EROFS: Trouble.READ_ONLY,
    errno.EACCES: Trouble.READ_ONLY,
    errno.EPERM: Trouble.READ_ONLY,
    errno.EIO: Trouble.IO_ERROR,
}


def trouble_of(error: Exception, directory: Path) -> Trouble:
    """Names what is behind an error."""
    if isinstance(error, OSError):
        return _ERRNO.get(error.errno or 0, Trouble.UNAVAILABLE)
    code = getattr(error, "sqlite_errorcode", None) or 0
    found = _PRIMARY.get(code & 0xFF, Trouble.UNAVAILABLE)
    if found in (Trouble.IO_ERROR, Trouble.UNAVAILABLE):
        return _said_by_the_disk(directory) or found
    return found


def unavailable(error: Exception, directory: Path) -> Unavailable:
    """The error that callers get."""
    trouble = trouble_of(error, directory)
    said = "out of memory" if isinstance(error, MemoryError) else str(error)
    return Unavailable(f"{SENTENCES[trouble]} ({said})", trouble)


def free_bytes(directory: Path) -> int:
    """How much may still be written there; raises OSError."""
    found = os.statvfs(directory)
    return found.f_bavail * found.f_frsize


def _said_by_the_disk(directory: Path) -> Trouble | None:
    try:
        found = os.statvfs(directory)
    except OSError:
        return None
    if found.f_flag & os.ST_RDONLY:
        return Trouble.READ_ONLY
    return Trouble.DISK_FULL if found.f_bavail * found.f_frsize < ROOM_MIN_BYTES else None
