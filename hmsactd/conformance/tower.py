"""The daemon of the checks: a real one in this process, with data of its own, that can be ended and started again."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

import anyio
import anyio.abc

from hmsactd.daemon import serving
from hmsactd.settings.settings import Settings

GRACE_S: Final = 10.0
"""How long the daemon waits for a worker that is gone, unless it is told otherwise: its default."""


class Tower:
    """A daemon that is started and ended by whoever has it; its tasks belong to the group it is given."""

    def __init__(self, data: Path, tasks: anyio.abc.TaskGroup, grace_s: float) -> None:
        self.address = "127.0.0.1:0"
        """Where it listens, once it was started; the same from then on."""
        self._data = data
        self._grace_ms = round(grace_s * 1000)
        self._tasks = tasks
        self._leave = asyncio.Event()
        self._left = asyncio.Event()

    async def start(self) -> None:
        """Start it; returns when it is ready."""
        self._leave, self._left = asyncio.Event(), asyncio.Event()
        await self._tasks.start(self._serve, name="daemon of the checks")

    async def stop(self) -> None:
        """End it in order: it tells workers to drain."""
        self._leave.set()
        await self._left.wait()

    async def _serve(self, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        # Made here and not read: no file and no environment of whoever runs the checks has a say.
        settings = Settings.model_validate(
            {
                "dev": True,
                "grpc": {"listen": self.address},
                "http": {"listen": "127.0.0.1:0"},
                "data": {"directory": str(self._data)},
                "workers": {"grace": f"{self._grace_ms}ms"},
            }
        )
        try:
            async with serving(settings) as (running, _):
                self.address = str(running.grpc)
                task_status.started()
                await self._leave.wait()
        finally:
            self._left.set()
