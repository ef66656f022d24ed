"""Signals to the process, heard whatever the event loop is busy with.

The loop's own handler writes each signal into the socket by which threads wake the loop. That holds some 280 wake-ups;
while a busy turn keeps the loop from emptying it, a signal is dropped for good. So signals have a socket of their own.
"""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType


@contextmanager
def received(*numbers: signal.Signals) -> Iterator[asyncio.Queue[signal.Signals]]:
    """These signals, as they come. In the main thread only, as Python asks for."""
    loop = asyncio.get_running_loop()
    queue: asyncio.Queue[signal.Signals] = asyncio.Queue()
    with ExitStack() as stack:
        ours, system = map(stack.enter_context, socket.socketpair())
        ours.setblocking(False)
        system.setblocking(False)

        def come() -> None:
            for number in ours.recv(4096):
                if number in numbers:
                    queue.put_nowait(signal.Signals(number))

        loop.add_reader(ours, come)
        stack.callback(loop.remove_reader, ours)
        stack.callback(signal.set_wakeup_fd, signal.set_wakeup_fd(system.fileno(), warn_on_full_buffer=False))
        for number in numbers:
            stack.callback(signal.signal, number, signal.signal(number, _heard))
        yield queue


def _heard(number: int, frame: FrameType | None) -> None:
    """Python asks for a handler; the number has been written to the socket by now."""
