"""Somebody who minds their own business while others do their worst, and what the daemon's process has by then."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import psutil

from tests.e2e.raw import OFFICER, Caller
from tests.faults.tower import Tower

MIB = 1024 * 1024
PAUSE_S = 0.005


@contextmanager
def bystander(address: str, waits_s: list[float]) -> Iterator[None]:
    """Meanwhile one client after the other asks something, on one connection; how long each waited is noted."""
    is_over = threading.Event()

    def ask() -> None:
        with Caller(address, OFFICER) as officer:
            while True:
                began = time.monotonic()
                officer.count()
                waits_s.append(time.monotonic() - began)
                if is_over.wait(PAUSE_S):
                    return

    asking = threading.Thread(target=ask, name="bystander")
    asking.start()
    try:
        yield
    finally:
        is_over.set()
        asking.join()


def rss_mib(tower: Tower) -> float:
    """Resident memory of a daemon."""
    return float(psutil.Process(tower.pid).memory_info().rss) / MIB


def descriptors(tower: Tower) -> int:
    """Files and connections that it has open."""
    return psutil.Process(tower.pid).num_fds()


def slope(values: Sequence[float]) -> float:
    """By how much values grow from one to the next, by least squares."""
    middle = (len(values) - 1) / 2
    mean = sum(values) / len(values)
    spread = sum((place - middle) ** 2 for place in range(len(values)))
    return sum((place - middle) * (value - mean) for place, value in enumerate(values)) / spread
