"""How the store is: well, in trouble for a while, or broken for good. Said by who writes, heard by who asks.

There is a line in the log when trouble begins and when it ends, and none for the requests in between.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

from hmsactd import logs
from hmsactd.store.errors import FOR_GOOD, Unavailable

SAID_AGAIN_AFTER_S: Final = 60.0
"""Failures that were over at once are told so often at most: of a failing disk there may be hundreds a second."""

log = logs.logger(__name__)


class Condition:
    """How one store is. `heard` are told of every change: None, or why it can't write."""

    def __init__(self) -> None:
        self.broken = asyncio.Event()
        """Set once the data can't be trusted any more. There is no way back."""
        self._trouble: Unavailable | None = None
        self._hearers: list[Callable[[Unavailable | None], None]] = []
        self._said_at = -SAID_AGAIN_AFTER_S

    @property
    def trouble(self) -> Unavailable | None:
        """Why it can't write; None if it can."""
        return self._trouble

    def on_change(self, hear: Callable[[Unavailable | None], None]) -> None:
        """Has somebody told from now on."""
        self._hearers.append(hear)

    def passed(self, error: Unavailable) -> None:
        """A write failed, and the next one does not."""
        now = time.monotonic()
        if now - self._said_at >= SAID_AGAIN_AFTER_S:
            self._said_at = now
            log.warning("a write failed; the store was opened anew and goes on", reason=error.reason, error=str(error))

    def failed(self, error: Unavailable) -> None:
        """It can't write until further notice."""
        before, self._trouble = self._trouble, error
        if error.trouble in FOR_GOOD:
            self.break_down(error)
        elif before is None or before.trouble is not error.trouble:
            log.error("the store can't be written", reason=error.reason, error=str(error))
            self._tell()

    def break_down(self, error: Unavailable) -> None:
        """The data can't be trusted any more: nothing is written from here on."""
        self._trouble = error
        if not self.broken.is_set():
            self.broken.set()
            log.critical("the store is damaged", reason=error.reason, error=str(error))
            self._tell()

    def recovered(self) -> None:
        """It can write."""
        if self._trouble is not None and not self.broken.is_set():
            log.warning("the store can be written again", after=self._trouble.reason)
            self._trouble = None
            self._tell()

    def _tell(self) -> None:
        for hear in self._hearers:
            hear(self._trouble)
