"""When the next attempt of a step is due: exponential backoff with a cap and jitter."""

from __future__ import annotations

from zlib import crc32

from hmsactd.definition.flow import StepDefinition

JITTER_PERCENT = 10
"""Delays vary by this much either way, so that what failed together does not come back together."""


def retry_delay_ms(definition: StepDefinition, retry: int, seed: str, wish_ms: int | None = None) -> int:
    """The delay before retry number `retry` (from 1), in milliseconds.

    It doubles from `retry_delay_ms` up to `retry_delay_max_ms`. Jitter is drawn from `seed`, which differs between
    operations, so that the same history gives the same delay. A service that said how long to wait (`wish_ms`) is
    not called earlier.
    """
    # Past 30 doublings every cap has been reached; larger powers only cost time.
    delay_ms = min(definition.retry_delay_ms << min(retry - 1, 30), definition.retry_delay_max_ms)
    jitter_permille = crc32(f"{seed}/{retry}".encode()) % (20 * JITTER_PERCENT + 1) - 10 * JITTER_PERCENT
    jittered_ms = delay_ms + delay_ms * jitter_permille // 1000
    return max(jittered_ms, min(wish_ms or 0, definition.retry_delay_max_ms))
