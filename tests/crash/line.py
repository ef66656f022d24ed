"""A TCP line between a worker and the daemon that somebody can cut, hold or slow down.

Cut, both sides are told that the connection has ended. Held, neither hears anything, not even an end, and whoever
connects anew is taken in and hears nothing either. Slowed, everything arrives, later.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Self


class Line:
    """Forwards to an address, on a thread of its own."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._behind = (host, int(port))
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="line")
        self._ends: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._delay_s = 0.0
        self._flows = asyncio.Event()
        self._flows.set()
        self.address = ""

    def __enter__(self) -> Self:
        self._thread.start()
        self._server = asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result()
        self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    def __exit__(self, *raised: object) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def cut(self) -> None:
        """Ends every connection; new ones may be made."""
        self._do(self._end_all)

    def hold(self) -> None:
        """Lets nothing through until it is let go."""
        self._do(self._flows.clear)

    def let_go(self) -> None:
        """Lets through what was held, and all that comes."""
        self._do(self._flows.set)

    def slow_down(self, delay_s: float) -> None:
        """Lets whatever comes arrive so much later."""
        self._delay_s = delay_s

    def _do(self, what: Callable[[], object]) -> None:
        self._loop.call_soon_threadsafe(what)

    async def _listen(self) -> asyncio.Server:
        return await asyncio.start_server(self._connected, "127.0.0.1", 0)

    async def _connected(self, near: asyncio.StreamReader, to_near: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._ends.add(to_near)
        try:
            await self._flows.wait()
            far, to_far = await asyncio.open_connection(*self._behind)
            self._ends.add(to_far)
            try:
                async with asyncio.TaskGroup() as both:
                    both.create_task(self._forward(near, to_far), name="there")
                    both.create_task(self._forward(far, to_near), name="back")
            finally:
                self._end(to_far)
        except (OSError, asyncio.CancelledError):
            # The daemon is down, or the line is taken away.
            return
        finally:
            self._end(to_near)
            self._tasks.discard(task)

    async def _forward(self, come: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
        try:
            while said := await come.read(65_536):
                await asyncio.sleep(self._delay_s)
                await self._flows.wait()
                to.write(said)
                await to.drain()
        except OSError:
            pass
        self._end(to)

    def _end(self, end: asyncio.StreamWriter) -> None:
        end.close()
        self._ends.discard(end)

    def _end_all(self) -> None:
        for end in list(self._ends):
            end.transport.abort()

    async def _close(self) -> None:
        self._server.close()
        self._end_all()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
