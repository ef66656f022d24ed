"""Passes on whether the store can write: to /readyz and the metric at once, to gRPC's health a moment later."""

from __future__ import annotations

from typing import Protocol

import anyio

from hmsactd.http.readiness import Readiness
from hmsactd.store.condition import Condition
from hmsactd.store.errors import Unavailable


class Serving(Protocol):
    """What answers the health service."""

    async def ready(self) -> None:
        """Say that requests are taken."""

    async def unready(self) -> None:
        """Say that they are not."""


class Health:
    """Follows the condition of the store until it is stopped."""

    def __init__(self, condition: Condition, readiness: Readiness, server: Serving) -> None:
        self._condition = condition
        self._readiness = readiness
        self._server = server
        self._changed = anyio.Event()
        self._is_stopping = False
        condition.on_change(self._hear)
        self._hear(condition.trouble)

    async def run(self) -> None:
        """Tell the server of every change, for ever."""
        while True:
            await self._changed.wait()
            self._changed = anyio.Event()
            if self._is_stopping:
                # The server says by itself that it stops.
                return
            await (self._server.ready() if self._condition.trouble is None else self._server.unready())

    def stop(self) -> None:
        """From now on whoever stops the daemon says what it is."""
        self._is_stopping = True
        self._changed.set()

    def _hear(self, trouble: Unavailable | None) -> None:
        if self._is_stopping:
            return
        if trouble is None:
            self._readiness.ready()
        else:
            self._readiness.unready(f"{trouble.reason}: {trouble}")
        self._changed.set()
