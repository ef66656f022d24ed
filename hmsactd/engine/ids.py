"""Ids of operations and sessions: a ULID in lower case behind a prefix, so that they sort by when they were made."""

from __future__ import annotations

from ulid import ULID

from hmsactd.timeline.entropy import random_bytes

TIME_BYTES = 6
CHANCE_BYTES = 10


def fresh_id(prefix: str, now_us: int) -> str:
    """Returns an id that nothing else has, for what is made now."""
    # The library would ask the system for chance each time, and let go of the interpreter's lock for it.
    time = (now_us // 1000).to_bytes(TIME_BYTES, "big")
    return f"{prefix}_{ULID(time + random_bytes(CHANCE_BYTES))!s}".lower()
