"""The agency's worker as a process of ours: started with the address it is to connect to, ended by a signal."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import anyio

from hmsactd.errors import StartRefused

END_S = 10.0
"""How long the process may take to end after SIGTERM, before it is killed."""


class Agency:
    """A process that runs."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    def terminate(self) -> None:
        """Ask it to end (SIGTERM)."""
        if self._process.returncode is None:
            self._process.terminate()

    async def ended(self, within_s: float) -> int | None:
        """Its exit code, once it has ended; None if it has not in time."""
        with anyio.move_on_after(within_s):
            await self._process.wait()
        return self._process.returncode


@asynccontextmanager
async def running(
    command: Sequence[str], address: str, token: str, ended: Callable[[int], None]
) -> AsyncIterator[Agency]:
    """Start a worker; `ended` is told its exit code when it ends. Raises StartRefused if it can't be started."""
    environment = os.environ | {"HMSACT_ADDRESS": address, "HMSACT_TOKEN": token}
    try:
        # What it says goes to standard error: standard output is for the result.
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.DEVNULL, stdout=sys.stderr, env=environment
        )
    except OSError as error:
        raise StartRefused(f"{command[0]} can't be started: {error.strerror or error}") from error
    agency = Agency(process)

    async def watch() -> None:
        ended(await process.wait())

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch, name="the worker's process")
        try:
            yield agency
        finally:
            with anyio.CancelScope(shield=True):
                agency.terminate()
                if await agency.ended(END_S) is None:
                    process.kill()
