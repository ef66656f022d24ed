"""Waiting for news of an operation, but no longer than the daemon is up and the caller has patience."""

from __future__ import annotations

import anyio

from hmsactd.timeline.follow import Follower


class Patience:
    """Ends every wait when the daemon stops, so that streams and long polls never hold it up."""

    def __init__(self) -> None:
        self._stopping = anyio.Event()

    @property
    def is_stopping(self) -> bool:
        """True once the daemon goes down."""
        return self._stopping.is_set()

    def stop(self) -> None:
        """The daemon goes down."""
        self._stopping.set()

    async def stopping(self) -> None:
        """Return when the daemon goes down."""
        await self._stopping.wait()

    async def news(self, follower: Follower, within_s: float) -> bool:
        """Wait until something may have happened, or the daemon stops; False when the time is up."""
        with anyio.move_on_after(within_s) as scope:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._until_stopping, tasks.cancel_scope, name="patience: until stopping")
                await follower.changed()
                tasks.cancel_scope.cancel()
        return not scope.cancelled_caught

    async def _until_stopping(self, scope: anyio.CancelScope) -> None:
        await self._stopping.wait()
        scope.cancel()
