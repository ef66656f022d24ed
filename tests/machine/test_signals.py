"""A signal is heard also while the loop has more to do than its own socket for wake-ups holds."""

from __future__ import annotations

import asyncio
import os
import signal

from hmsactd.machine.signals import received


async def test_a_signal_is_heard_though_threads_have_woken_the_loop_a_thousand_times_meanwhile() -> None:
    before = signal.getsignal(signal.SIGUSR1)
    with received(signal.SIGUSR1, signal.SIGUSR2) as signals:
        for _ in range(1_000):
            asyncio.get_running_loop().call_soon_threadsafe(bool)
        os.kill(os.getpid(), signal.SIGUSR1)
        async with asyncio.timeout(10):
            assert await signals.get() is signal.SIGUSR1
            os.kill(os.getpid(), signal.SIGUSR2)
            assert await signals.get() is signal.SIGUSR2
    assert signal.getsignal(signal.SIGUSR1) is before
