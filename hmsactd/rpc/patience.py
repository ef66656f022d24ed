"""Waiting for news of an operation, but no longer than the daemon is up and the caller has patience."""

from __future__ import annotations

import asyncio
from typing import Protocol


class News(Protocol):
    """What can be waited for: a follower of a timeline, an ending. Being told without cause does no harm."""

    def told(self) -> None:
        """Let whoever waits look."""

    async def changed(self) -> None:
        """Return when told."""


class Patience:
    """Ends every wait when the daemon stops, so that streams and long polls never hold it up."""

    def __init__(self) -> None:
        self._waiting: set[News] = set()
        self._stopping = asyncio.Event()

    @property
    def is_stopping(self) -> bool:
        """True once the daemon goes down."""
        return self._stopping.is_set()

    def stop(self) -> None:
        """The daemon goes down: everybody who waits looks up."""
        self._stopping.set()
        for news in self._waiting:
            news.told()

    async def stopping(self) -> None:
        """Return when the daemon goes down."""
        await self._stopping.wait()

    async def news(self, news: News, within_s: float) -> bool:
        """Wait for news, or until the daemon stops; False when the time is up."""
        if self.is_stopping:
            return True
        self._waiting.add(news)
        try:
            # Not a task group with a watcher of its own: a thousand clients wait here at a time.
            async with asyncio.timeout(within_s):
                await news.changed()
        except TimeoutError:
            return False
        finally:
            self._waiting.discard(news)
        return True
