"""A disk that loses power: what was synced is kept, and of everything else whatever chance leaves.

Stricter than the file systems we know: a file's name is kept only when its directory was synced, and writes that no
sync has brought to the disk may be kept in any selection, each as a whole or sector by sector. What no file system
promises to keep, no test may rely on.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from random import Random

from tests.power.recording import Entry, Kind

SECTOR = 512
REBUILT = "-shm"
"""SQLite's index of its journal: mapped memory, which is made anew at every opening."""


class Loss(Enum):
    """What becomes of that which was not synced."""

    ALL = "nothing of it is kept"
    TAIL = "it is kept up to some point"
    SOME = "any selection of it is kept"
    TORN = "any selection of its sectors is kept"


@dataclass(slots=True)
class File:
    """What stands on the disk for certain, and what was done since."""

    content: bytearray = field(default_factory=bytearray)
    pending: list[Entry] = field(default_factory=list)


class Disk:
    """A directory, moved on through a recording."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self._ahead = iter(entries)
        self._next: Entry | None = next(self._ahead, None)
        self._names: dict[str, File] = {}  # as the processes see them
        self._kept_names: dict[str, File] = {}  # as they stand on the disk
        self._pending_names: list[tuple[Entry, File | None]] = []

    def forward(self, moment: int) -> None:
        """Does what had ended by then."""
        while self._next is not None and self._next.ended <= moment:
            self._do(self._next)
            self._next = next(self._ahead, None)

    def _do(self, entry: Entry) -> None:
        if entry.name.endswith(REBUILT):
            return
        match entry.kind:
            case Kind.CREATE:
                file = self._names[entry.name] = File()
                self._pending_names.append((entry, file))
            case Kind.RENAME:
                file = self._names.pop(entry.name)
                self._names[_target(entry)] = file
                self._pending_names.append((entry, file))
            case Kind.UNLINK:
                del self._names[entry.name]
                self._pending_names.append((entry, None))
            case Kind.SYNC if not entry.name:
                before = [told for told in self._pending_names if told[0].ended <= entry.began]
                for told in before:
                    _name(self._kept_names, *told)
                self._pending_names = self._pending_names[len(before) :]
            case Kind.SYNC:
                file = self._names[entry.name]
                for done in file.pending:
                    if done.ended <= entry.began:
                        _write(file.content, done)
                file.pending = [done for done in file.pending if done.ended > entry.began]
            case Kind.WRITE | Kind.TRUNCATE:
                self._names[entry.name].pending.append(entry)

    def image(self, loss: Loss, chance: Random) -> dict[str, bytes]:
        """The files that are found when the power is back."""
        pending = sorted(
            [entry for entry, _ in self._pending_names]
            + [entry for file in self._all_files() for entry in file.pending],
            key=lambda entry: entry.ended,
        )
        kept = set(map(id, _chosen(pending, loss, chance)))
        names = dict(self._kept_names)
        for entry, file in self._pending_names:
            if id(entry) in kept:
                _name(names, entry, file)
        return {name: self._content(file, kept, loss, chance) for name, file in names.items()}

    def _all_files(self) -> Iterator[File]:
        files = [*self._names.values(), *self._kept_names.values(), *(file for _, file in self._pending_names if file)]
        yield from {id(file): file for file in files}.values()

    def _content(self, file: File, kept: set[int], loss: Loss, chance: Random) -> bytes:
        content = bytearray(file.content)
        for entry in file.pending:
            if id(entry) in kept:
                for part in _torn(entry, chance) if loss is Loss.TORN else (entry,):
                    _write(content, part)
        return bytes(content)


def write_image(image: dict[str, bytes], directory: Path) -> None:
    """Puts the files into a new directory, readable by their owner alone."""
    directory.mkdir(mode=0o700)
    for name, content in image.items():
        path = directory / name
        path.write_bytes(content)
        path.chmod(0o600)


def _chosen(pending: Sequence[Entry], loss: Loss, chance: Random) -> Sequence[Entry]:
    match loss:
        case Loss.ALL:
            return ()
        case Loss.TAIL:
            return pending[: chance.randint(0, len(pending))]
        case Loss.SOME | Loss.TORN:
            return [entry for entry in pending if chance.random() < 0.5]


def _torn(entry: Entry, chance: Random) -> Iterator[Entry]:
    if entry.kind is not Kind.WRITE:
        yield entry
        return
    end = entry.offset + len(entry.data)
    start = entry.offset
    while start < end:
        until = min(end, start - start % SECTOR + SECTOR)
        if chance.random() < 0.5:
            part = entry.data[start - entry.offset : until - entry.offset]
            yield Entry(entry.began, entry.ended, entry.kind, entry.name, start, part)
        start = until


def _write(content: bytearray, entry: Entry) -> None:
    if entry.kind is Kind.TRUNCATE:
        del content[entry.offset :]
        content.extend(bytes(entry.offset - len(content)))
        return
    content.extend(bytes(max(0, entry.offset - len(content))))
    content[entry.offset : entry.offset + len(entry.data)] = entry.data


def _name(names: dict[str, File], entry: Entry, file: File | None) -> None:
    if file is None:
        names.pop(entry.name, None)
        return
    if entry.kind is Kind.RENAME:
        names.pop(entry.name, None)
    names[_target(entry) if entry.kind is Kind.RENAME else entry.name] = file


def _target(entry: Entry) -> str:
    return Path(entry.data.decode()).name
