"""Times as records write them: RFC 3339 in UTC with microseconds. Inside the daemon they are integers."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from functools import lru_cache

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


def written(at_us: int) -> str:
    """Returns the text of a time."""
    seconds, microseconds = divmod(at_us, 1_000_000)
    return f"{_second(seconds)}.{microseconds:06d}Z"


def read(text: str) -> int:
    """Returns the time that a text names, in microseconds since the epoch; raises ValueError."""
    return (datetime.fromisoformat(text) - _EPOCH) // _MICROSECOND


# A batch holds many events of the same second.
@lru_cache(256)
def _second(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
