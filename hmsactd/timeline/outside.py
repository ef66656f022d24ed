"""The last seal, kept in a file outside the data directory: by it an older state of the log is known for what it is.

Written after the commit, never before, so that the log is never behind it, unless somebody has put an older one in
its place. The file is the seal itself, a signed note: it can be held against an export as evidence, too.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread
from hmsact.note import Note, TreeHead, VerifierKey

from hmsactd import logs
from hmsactd.store.errors import DataRefused
from hmsactd.store.journal import bring_names_to_disk

WRITTEN_EVERY_S: Final = 1.0
"""How far the file may be behind the log. What follows the last outside seal can be lost unseen."""

SEAL_MAX_BYTES: Final = 4096

log = logs.logger(__name__)


class OutsideSeal:
    """One file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._kept: str | None = None
        self._is_failing = False

    def head(self, origin: str, key: VerifierKey) -> TreeHead | None:
        """What the seal in the file states; None if there is no file. Raises DataRefused if it isn't this log's."""
        note = self.note()
        if note is None:
            return None
        try:
            parsed = Note.parse(note)
            head = TreeHead.parse(parsed.body)
        except ValueError as error:
            raise DataRefused(
                f"{self._path} (timeline.outside_seals) is not a seal: {error}. Restore it, or, if you are sure that "
                "the data directory is not older than it should be, move it away"
            ) from error
        if head.origin != origin or not parsed.is_signed_by(key):
            raise DataRefused(
                f"{self._path} (timeline.outside_seals) is the seal of another log, {head.origin}, not of {origin}: "
                "the data directory or the file is not the one that belongs here"
            )
        return head

    def note(self) -> str | None:
        """The file as it is; None if there is none. Raises DataRefused if it can't be read."""
        try:
            with self._path.open("rb") as file:
                return file.read(SEAL_MAX_BYTES).decode("utf-8", "replace")
        except FileNotFoundError:
            return None
        except OSError as error:
            raise DataRefused(
                f"{self._path} (timeline.outside_seals) can't be read: {error.strerror}. The log is not opened without "
                "it, as it may be older than the last seal: mend that, or take the setting out"
            ) from error

    async def begin_again(self, seal: str | None) -> None:
        """After an accepted rollback: from here on this seal is what the log is held against."""
        self._kept = None
        if seal is None:
            await anyio.to_thread.run_sync(lambda: self._path.unlink(missing_ok=True))
        await self.keep(seal)

    async def run(self, last_seal: Callable[[], str | None]) -> None:
        """Writes the newest seal whenever there is one, at most once a second, for ever."""
        while True:
            await self.keep(last_seal())
            await anyio.sleep(WRITTEN_EVERY_S)

    async def keep(self, seal: str | None) -> None:
        """Writes a seal if it is not the one in the file. That this fails is logged once, and stops nothing."""
        if seal is None or seal == self._kept:
            return
        try:
            await anyio.to_thread.run_sync(_replace, self._path, seal.encode())
        except OSError as error:
            if not self._is_failing:
                log.error("the outside seal can't be written", file=str(self._path), error=error.strerror)
            self._is_failing = True
            return
        if self._is_failing:
            log.warning("the outside seal is written again", file=str(self._path))
        self._kept, self._is_failing = seal, False


def _replace(path: Path, content: bytes) -> None:
    """Puts a file in the place of another, so that whatever happens one of the two is there, whole."""
    draft = path.with_name(path.name + ".new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    bring_names_to_disk(path.parent)
