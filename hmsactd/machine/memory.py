"""How much memory the process has, and may have: by the setting, its control group, or its address space."""

from __future__ import annotations

import ctypes
import resource
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PAGE_BYTES: Final = resource.getpagesize()
NEARLY: Final = 0.85
"""The part of the limit beyond which nothing new is begun: what is under way needs the rest."""

ENOUGH: Final = 0.80
"""The part below which it is begun again. Between the two nothing changes, so that it does not flutter."""


@dataclass(frozen=True, slots=True)
class Limit:
    """A bound on the process, and which of the two sizes it bounds."""

    bytes: int
    of: str  # "resident" or "address space"


def limits(said_bytes: int | None = None, root: Path = Path("/")) -> tuple[Limit, ...]:
    """Every bound that there is."""
    found = [Limit(said_bytes, "resident")] if said_bytes is not None else []
    if (group := _of_control_group(root)) is not None:
        found.append(Limit(group, "resident"))
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    if soft != resource.RLIM_INFINITY:
        found.append(Limit(soft, "address space"))
    return tuple(found)


def used_part(bounds: tuple[Limit, ...], statm: Path = Path("/proc/self/statm")) -> float:
    """The part of the bound that is used, of the one that is nearest; 0 where nothing is bounded or known."""
    if not bounds:
        return 0.0
    try:
        size, resident, *_ = statm.read_text("ascii").split()
    except OSError:
        return 0.0
    taken = {"resident": int(resident) * PAGE_BYTES, "address space": int(size) * PAGE_BYTES}
    return max(taken[bound.of] / bound.bytes for bound in bounds)


def give_back() -> None:
    """Returns to the system what was freed and is kept for later: else a flood that is over would still count."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _of_control_group(root: Path) -> int | None:
    """The limit of the process's own group, or of the container's, whose root it sees as its own (version 2)."""
    try:
        own = (root / "proc/self/cgroup").read_text("ascii").rpartition("::")[2].strip().lstrip("/")
    except OSError:
        return None
    for group in dict.fromkeys((own, "")):
        try:
            said = (root / "sys/fs/cgroup" / group / "memory.max").read_text("ascii").strip()
        except OSError:
            continue
        if said.isdigit():
            return int(said)
    return None
