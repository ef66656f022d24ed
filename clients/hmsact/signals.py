"""Signals to a worker's process, heard whatever its event loop is busy with.

The loop's own handler reads each signal from the socket by which threads wake the loop. That holds some 280 wake-ups;
while a busy turn keeps the loop from emptying it, a signal is dropped for good. Python calls its handler all the same,
so that is the one that hears; all it can't do is wake a loop that sleeps, for which it has a socket of its own.
"""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType


@contextmanager
def heard(hear: Callable[[int], None], *numbers: signal.Signals) -> Iterator[None]:
    """Calls `hear` on the loop for each of these signals.

    Raises ValueError outside the main thread, and NotImplementedError where the loop can't wait for a socket.
    """
    loop = asyncio.get_running_loop()

    def note(number: int, frame: FrameType | None) -> None:
        loop.call_soon_threadsafe(hear, number)

    with ExitStack() as stack:
        ours, system = map(stack.enter_context, socket.socketpair())
        ours.setblocking(False)
        system.setblocking(False)
        # What is read says nothing: a process that was forked from this one writes its signals there, too.
        loop.add_reader(ours, ours.recv, 4096)
        stack.callback(loop.remove_reader, ours)
        stack.callback(signal.set_wakeup_fd, signal.set_wakeup_fd(system.fileno(), warn_on_full_buffer=False))
        for number in numbers:
            stack.callback(signal.signal, number, signal.signal(number, note))
        yield
