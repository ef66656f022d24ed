"""Ids of operations and sessions: a ULID in lower case behind a prefix, so that they sort by when they were made."""

from __future__ import annotations

import time

from ulid import ULID

from hmsactd.timeline.entropy import random_bytes

TIME_BYTES = 6
CHANCE_BYTES = 10


def fresh_id(prefix: str) -> str:
    """Returns an id that nothing else has."""
    # The library would ask the system for chance each time, and let go of the interpreter's lock for it.
    now_ms = time.time_ns() // 1_000_000
    return f"{prefix}_{ULID(now_ms.to_bytes(TIME_BYTES, 'big') + random_bytes(CHANCE_BYTES))!s}".lower()
