"""The data directory belongs to one daemon at a time: two writers of one log would fork it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from hmsactd.store.errors import DataRefused

LOCK_FILE: Final = "lock"


@contextmanager
def held(directory: Path) -> Iterator[None]:
    """Holds the data directory, making it if need be (for its owner alone); raises DataRefused if another has it.

    The lock goes with the process, however that ends.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(directory / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise DataRefused(f"the data directory {directory} can't be used: {error.strerror}") from error
    try:
        _lock(descriptor, directory)
        _sign(descriptor)
        yield
    finally:
        os.close(descriptor)


def holder(directory: Path) -> int | None:
    """Returns the process that has the directory, 0 if it is not said which; None if nobody has it."""
    try:
        descriptor = os.open(directory / LOCK_FILE, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        # Shared, and let go at once: whoever starts a daemon at this moment has to be very unlucky to be refused.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        said = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
        return int(said) if said.isdigit() else 0
    finally:
        os.close(descriptor)
    return None


def _sign(descriptor: int) -> None:
    """Leaves the process id for whoever is refused. The lock holds without it, as on a disk that is full."""
    try:
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    except OSError:
        pass


def _lock(descriptor: int, directory: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.pread(descriptor, 32, 0).decode(errors="replace").strip()
        by = f" (process {holder})" if holder.isdigit() else ""
        raise DataRefused(f"another hmsactd{by} is using the data directory {directory}") from error
