"""What recorder.c wrote down: everything that was done to a data directory, and when."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

SOURCE = Path(__file__).with_name("recorder.c")
HEAD = struct.Struct("=QQIIQQ")


class Kind(IntEnum):
    """What was done; the numbers of recorder.c."""

    CREATE = 1
    WRITE = 2
    TRUNCATE = 3
    SYNC = 4
    RENAME = 5
    UNLINK = 6


@dataclass(frozen=True, slots=True)
class Entry:
    """One call. Times are nanoseconds of the monotonic clock; `name` is relative to the directory, "" is itself."""

    began: int
    ended: int
    kind: Kind
    name: str
    offset: int
    data: bytes


def environment(library: Path, recording: Path, below: Path) -> dict[str, str]:
    """What makes a process record."""
    return {
        "LD_PRELOAD": str(library),
        "HMSACT_RECORDING": str(recording),
        "HMSACT_RECORDING_BELOW": str(below.resolve()),
    }


def entries(recording: Path, below: Path) -> list[Entry]:
    """All calls, in the order in which they ended."""
    return sorted(_read(recording.read_bytes(), str(below.resolve())), key=lambda entry: entry.ended)


def _read(told: bytes, below: str) -> Iterator[Entry]:
    at = 0
    while at < len(told):
        began, ended, kind, name_length, offset, length = HEAD.unpack_from(told, at)
        at += HEAD.size
        name = told[at : at + name_length].decode().removeprefix(below).removeprefix("/")
        at += name_length
        yield Entry(began, ended, Kind(kind), name, offset, told[at : at + length])
        at += length
