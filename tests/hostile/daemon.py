"""A real daemon under hostile input: what it has said, what memory it has, and that it has kept nothing by halves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from tests.crash import record
from tests.faults.tower import Tower

GROWN_MAX_MIB = 96
"""What the memory may have grown by: the caches of definitions and operations, and what lies idle in the allocator."""

MIB = 1 << 20


def resident_mib(tower: Tower) -> int:
    """The memory of its process."""
    return int(psutil.Process(tower.pid).memory_info().rss) // MIB


@contextmanager
def hostile_to(data: Path, *arguments: str) -> Iterator[Tower]:
    """A daemon that has to outlive what is done to it, with nothing to complain of, and with data that are whole."""
    tower = Tower(data, arguments=arguments)
    tower.start()
    try:
        before = resident_mib(tower)
        yield tower
        grown = resident_mib(tower) - before
        assert tower.stop() == 0, tower.said()
    finally:
        tower.kill()
    assert tower.lines('"level": "error"') == tower.lines("Traceback") == [], tower.said()
    assert grown <= GROWN_MAX_MIB, f"{grown} MiB more than before"
    print(f"{tower.data.name}: {before} MiB before, {before + grown} after")


def check_kept(data: Path) -> Counter[str]:
    """What is kept is whole: chains, tree, the last seal, no outcome twice, a row for each operation and its length."""
    log = record.read(data)
    record.check_seal(log, log.key)
    return record.check_chains(log)
