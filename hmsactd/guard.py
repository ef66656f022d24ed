"""Looks at the machine, a few times a second, and closes the door to new operations before something runs out.

It costs a request nothing: what it finds is a flag that starts look at.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

import anyio

from hmsactd import logs
from hmsactd.engine.intake import Intake
from hmsactd.errors import ResourceExhausted, Unavailable
from hmsactd.machine import memory
from hmsactd.machine.jumps import Jumps
from hmsactd.store.condition import Condition
from hmsactd.store.errors import Trouble
from hmsactd.store.errors import Unavailable as StoreUnavailable
from hmsactd.store.trouble import free_bytes

LOOK_EVERY_S: Final = 0.1
"""Data come in at some 100 MB a second at most: ten looks a second see a reserve of 64 MiB in time."""

TRY_AGAIN_AFTER_MS: Final = 5_000
"""When a refused caller may try again: somebody has to make room first."""

log = logs.logger(__name__)


class Files(NamedTuple):
    """What is watched on the disk: the files that must stay where they are, and how much room must be left."""

    directory: Path
    database: Path
    free_bytes_min: int


class Guard:
    """One coroutine. `jumped` is told by how many microseconds the clock was set."""

    def __init__(
        self,
        files: Files | None,
        bounds: tuple[memory.Limit, ...],
        condition: Condition,
        intake: Intake,
        jumped: Callable[[int], None],
        jumps: Jumps,
    ) -> None:
        self._files = files
        self._bounds = bounds
        self._condition = condition
        self._intake = intake
        self._jumped = jumped
        self._jumps = jumps
        self._identity = _identity(files.database) if files is not None else None

    async def run(self) -> None:
        """Look, for ever."""
        while True:
            self.look()
            await anyio.sleep(LOOK_EVERY_S)

    def look(self) -> None:
        """Look once."""
        if self._files is not None:
            self._look_at_disk(self._files)
        self._look_at_memory()
        if by_us := self._jumps.look():
            self._jumped(by_us)
            log.warning(
                "the machine's clock was set: what is due by it comes that much sooner or later",
                by_seconds=round(by_us / 1e6, 1),
            )

    def _look_at_disk(self, files: Files) -> None:
        if _identity(files.database) != self._identity and not self._condition.broken.is_set():
            sentence = f"{files.database} was moved, deleted or replaced under the running daemon"
            self._condition.break_down(StoreUnavailable(sentence, Trouble.CORRUPT))
        try:
            free = free_bytes(files.directory)
        except OSError:
            # Whoever writes there finds out why.
            return
        if free < files.free_bytes_min:
            sentence = (
                f"the disk is nearly full: {free} bytes are free, and below {files.free_bytes_min} "
                "(store.free_bytes_min) nothing new is started; what is under way goes on"
            )
            refusal = Unavailable("DISK_NEARLY_FULL", sentence, retry_after_ms=TRY_AGAIN_AFTER_MS)
            if self._intake.close(refusal):
                log.error("the disk is nearly full: no new operations are taken", free_bytes=free)
        elif free >= files.free_bytes_min + files.free_bytes_min // 16 and self._intake.open("DISK_NEARLY_FULL"):
            log.warning("the disk has room again: new operations are taken", free_bytes=free)

    def _look_at_memory(self) -> None:
        part = memory.used_part(self._bounds)
        if part > memory.NEARLY:
            sentence = f"{part:.0%} of the memory that the daemon may use is taken; nothing new is started"
            refusal = ResourceExhausted("MEMORY_NEARLY_FULL", sentence, retry_after_ms=TRY_AGAIN_AFTER_MS)
            memory.give_back()
            if self._intake.close(refusal):
                log.error("memory is nearly used up: no new operations are taken", used=f"{part:.0%}")
        elif self._intake.refusal is not None and part >= memory.ENOUGH:
            memory.give_back()
        elif part < memory.ENOUGH and self._intake.open("MEMORY_NEARLY_FULL"):
            log.warning("there is memory again: new operations are taken", used=f"{part:.0%}")


def _identity(path: Path) -> tuple[int, int] | None:
    """Which file a name stands for; None if there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
