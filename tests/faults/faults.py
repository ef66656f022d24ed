"""The faults of faults.c, in the hands of a test: compiled once, and told what to do through a file in memory."""

from __future__ import annotations

import mmap
import os
import struct
import subprocess
from pathlib import Path

SOURCE = Path(__file__).with_name("faults.c")
LAYOUT = struct.Struct("=qq10i")
NAMES = (
    "free_bytes",
    "clock_ahead_ns",
    "is_full",
    "is_read_only",
    "fsync_fails",
    "write_fails",
    "fsyncs_failed",
    "writes_failed",
    "writes_before",
    "fsyncs_before",
    "growths_before",
    "growth_fails",
)


def compiled(directory: Path, source: Path = SOURCE) -> Path:
    """The library to preload."""
    library = directory / source.with_suffix(".so").name
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", str(library), str(source), "-ldl"], check=True, timeout=50)
    return library


class Faults:
    """What happens to the files below a directory, and to the clock. As long as nothing is set, nothing does."""

    def __init__(self, library: Path, plan: Path, below: Path) -> None:
        plan.write_bytes(LAYOUT.pack(-1, *[0] * (len(NAMES) - 1)))
        descriptor = os.open(plan, os.O_RDWR)
        self._memory = mmap.mmap(descriptor, LAYOUT.size)
        os.close(descriptor)
        self.environment = {
            "LD_PRELOAD": str(library),
            "HMSACT_FAULTS": str(plan),
            "HMSACT_FAULTS_BELOW": str(below.resolve()),
        }

    def set(self, **what: int) -> None:
        """Lets something happen from now on."""
        told = dict(zip(NAMES, LAYOUT.unpack(self._memory[:]), strict=True)) | what
        self._memory[:] = LAYOUT.pack(*(told[name] for name in NAMES))

    def get(self, name: str) -> int:
        """How it stands, such as how many fsyncs have failed."""
        value: int = LAYOUT.unpack(self._memory[:])[NAMES.index(name)]
        return value

    def close(self) -> None:
        """Lets go of the memory."""
        self._memory.close()
