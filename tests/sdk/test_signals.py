"""A worker's signals are heard whatever its loop, its threads and its functions do."""

import asyncio
import os
import signal
import subprocess
import sys
import threading

import pytest
from hmsact.signals import heard

FORKS = """
import asyncio, os, signal
from hmsact.signals import heard

async def fork():
    numbers = asyncio.Queue()
    with heard(numbers.put_nowait, signal.SIGUSR1, signal.SIGUSR2):
        child = os.fork()
        if child == 0:
            os.kill(os.getpid(), signal.SIGUSR1)
            os._exit(0)
        os.waitpid(child, 0)
        os.kill(os.getpid(), signal.SIGUSR2)
        print("heard", await numbers.get())

asyncio.run(fork())
"""


async def test_a_signal_is_heard_though_threads_have_woken_the_loop_a_thousand_times_meanwhile() -> None:
    numbers: asyncio.Queue[int] = asyncio.Queue()
    before = signal.getsignal(signal.SIGUSR1)
    with heard(numbers.put_nowait, signal.SIGUSR1, signal.SIGUSR2):
        for _ in range(1_000):
            asyncio.get_running_loop().call_soon_threadsafe(bool)
        os.kill(os.getpid(), signal.SIGUSR1)
        async with asyncio.timeout(10):
            assert await numbers.get() == signal.SIGUSR1
            os.kill(os.getpid(), signal.SIGUSR2)
            assert await numbers.get() == signal.SIGUSR2
    assert signal.getsignal(signal.SIGUSR1) is before


async def test_a_signal_that_comes_to_another_thread_wakes_a_loop_that_sleeps() -> None:
    numbers: asyncio.Queue[int] = asyncio.Queue()
    sleeps = threading.Event()

    def send() -> None:
        sleeps.wait()
        # By now the loop sleeps: until it does it keeps Python's lock, which this thread needs to go on.
        signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)

    thread = threading.Thread(target=send, name="gets the signal")
    with heard(numbers.put_nowait, signal.SIGUSR1):
        thread.start()
        sleeps.set()
        async with asyncio.timeout(10):
            assert await numbers.get() == signal.SIGUSR1
    thread.join()


async def test_a_signal_is_heard_though_a_function_has_the_loop_hear_another() -> None:
    numbers: asyncio.Queue[int] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    with heard(numbers.put_nowait, signal.SIGUSR1):
        loop.add_signal_handler(signal.SIGUSR2, bool)
        os.kill(os.getpid(), signal.SIGUSR1)
        async with asyncio.timeout(10):
            assert await numbers.get() == signal.SIGUSR1
        loop.remove_signal_handler(signal.SIGUSR2)


def test_a_signal_to_a_process_that_was_forked_is_not_taken_for_ones_own() -> None:
    # In a process of its own: one with threads, as that of the tests, had better not fork.
    ran = subprocess.run([sys.executable, "-c", FORKS], capture_output=True, text=True, timeout=30, check=True)
    assert ran.stdout.split() == ["heard", str(int(signal.SIGUSR2))]


async def test_outside_the_main_thread_it_says_so() -> None:
    async def hear() -> None:
        with heard(print, signal.SIGUSR1):
            pass

    with pytest.raises(ValueError, match="main thread"):
        await asyncio.to_thread(asyncio.run, hear())
