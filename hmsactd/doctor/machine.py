"""The machine: the disk under the data, descriptors, memory, and whether somebody keeps the clock right."""

from __future__ import annotations

import ctypes
import os
import resource
import stat
import statistics
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from hmsactd.doctor.finding import Finding, fail, ok, warn
from hmsactd.machine import descriptors, memory
from hmsactd.settings.settings import Settings
from hmsactd.store.trouble import free_bytes

MIB: Final = 1024 * 1024
FREE_WISHED_BYTES: Final = 2 * 1024 * MIB
"""Below this Prometheus is told to warn, too: a day or two of a busy daemon."""

SYNCS: Final = 20
SYNC_SLOW_MS: Final = 20.0
"""An event is acknowledged after one sync. Beyond this, callers notice."""

PROBE_FILE: Final = "doctor.probe"

UNSYNCHRONISED: Final = 0x0040
STATUS_AT: Final = 40
"""Where the kernel says whether the clock is kept right: struct timex of adjtimex(2), on 64 bits."""


def of_process(settings: Settings) -> Iterator[Finding]:
    """What the system lets a process have, and its clock."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < descriptors.NEEDED:
        yield fail("open files", f"{hard} are allowed, {descriptors.NEEDED} are needed: raise LimitNOFILE or ulimit -n")
    elif hard != resource.RLIM_INFINITY and hard < 4096:
        yield warn("open files", f"{hard} are allowed, enough for some {hard - 64} connections: raise LimitNOFILE")
    else:
        yield ok("open files", f"{soft} are allowed, and the daemon raises that to {_count(hard)}")
    bounds = memory.limits(settings.engine.memory_max_bytes)
    least = min((bound.bytes for bound in bounds), default=None)
    yield ok("memory", "is not limited" if least is None else f"is limited to {least // MIB} MiB")
    yield _synchronised()


def of_disk(settings: Settings) -> Iterator[Finding]:
    """Whether there is a directory, how much room it has, and how fast it keeps what it is given."""
    directory = settings.data.directory
    try:
        mode = directory.stat().st_mode
    except FileNotFoundError:
        yield ok("directory", f"{directory} is not there yet: the first start makes it")
        return
    except OSError as error:
        yield fail("directory", f"{directory} can't be looked at: {error.strerror}")
        return
    if not stat.S_ISDIR(mode):
        yield fail("directory", f"{directory} is not a directory: set data.directory to one")
        return
    if stat.S_IMODE(mode) & 0o077:
        yield warn("directory", f"{directory} is open to others (mode {stat.S_IMODE(mode):04o}): chmod 700 it")
    else:
        yield ok("directory", f"{directory.resolve()}")
    free, floor = free_bytes(directory), settings.store.free_bytes_min
    if free < floor:
        yield fail("disk", f"{_mib(free)} are free, below store.free_bytes_min ({_mib(floor)}): make room")
    elif free < FREE_WISHED_BYTES:
        yield warn("disk", f"{_mib(free)} are free: make room before {_mib(floor)}, where starts are refused")
    else:
        yield ok("disk", f"{_mib(free)} are free")
    yield _sync(directory)


def _sync(directory: Path) -> Finding:
    path, took_ms = directory / PROBE_FILE, list[float]()
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            for _ in range(SYNCS):
                began = time.perf_counter()
                os.write(descriptor, bytes(4096))
                os.fsync(descriptor)
                took_ms.append((time.perf_counter() - began) * 1000)
        finally:
            os.close(descriptor)
            path.unlink()
    except OSError as error:
        return fail("fsync", f"{directory} can't be written: {error.strerror}; see its owner, its mount and its disk")
    median, worst = statistics.median(took_ms), max(took_ms)
    said = f"{median:.2f} ms for 4 KiB (worst of {SYNCS}: {worst:.2f} ms)"
    if median > SYNC_SLOW_MS:
        return warn("fsync", f"{said}: callers wait for one; use a disk with a write cache that outlasts power cuts")
    return ok("fsync", said)


def _synchronised() -> Finding:
    about, buffer = "time service", ctypes.create_string_buffer(512)
    try:
        state = ctypes.CDLL(None, use_errno=True).adjtimex(buffer)
    except (OSError, AttributeError):
        state = -1
    if state < 0:
        return warn(about, "can't be asked here: see to it that something (chrony, systemd-timesyncd) keeps the clock")
    (status,) = struct.unpack_from("=i", buffer.raw, STATUS_AT)
    if status & UNSYNCHRONISED:
        return warn(about, "the kernel says that nothing keeps the clock right: run chrony or systemd-timesyncd")
    return ok(about, "keeps the clock right")


def _mib(count: int) -> str:
    return f"{count // MIB:,} MiB"


def _count(limit: int) -> str:
    return (
        f"{descriptors.WANTED_MAX:,}" if limit == resource.RLIM_INFINITY else f"{min(limit, descriptors.WANTED_MAX):,}"
    )
