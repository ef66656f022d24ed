"""Lengths of time as people write them: "500ms", "2m", "1h30m", "2d". Nothing here knows what they are for.

Those in a definition are not read here: the daemon does that, and knows more spellings.
"""

from __future__ import annotations

import re
from datetime import timedelta

from hmsact.errors import InvalidArgument, Violation

Duration = str | timedelta
"""A length of time: a text such as "500ms", "2m" or "1h30m" (units w, d, h, m, s, ms), or a timedelta."""

MOST_MS = 315_576_000_000_000
"""What google.protobuf.Duration holds: 10,000 years."""

_UNITS_MS = {"w": 604_800_000, "d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1000, "ms": 1}
_PART = re.compile(r"([0-9]{1,18})(ms|w|d|h|m|s)")
_WHOLE = re.compile(r"(?:[0-9]{1,18}(?:ms|w|d|h|m|s))+")


def text_of(duration_ms: int) -> str:
    """The length as text, days and less, the longest first: 90,000 is "1m30s", 0 is "0s"."""
    if duration_ms < 0:
        return f"-{text_of(-duration_ms)}"
    parts = []
    for unit, unit_ms in _UNITS_MS.items():
        if unit == "w":
            continue
        count, duration_ms = divmod(duration_ms, unit_ms)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def milliseconds(duration: Duration) -> int:
    """The length in milliseconds. Raises InvalidArgument if the text is none, or for more than a request can say."""
    span_ms = _milliseconds(duration)
    if abs(span_ms) > MOST_MS:
        sentence = f"{duration} is too long: 10,000 years are the most"
        raise InvalidArgument(sentence, violations=(Violation("", sentence, "OUT_OF_RANGE"),))
    return span_ms


def _milliseconds(duration: Duration) -> int:
    if isinstance(duration, timedelta):
        return duration // timedelta(milliseconds=1)
    if not _WHOLE.fullmatch(duration):
        raise InvalidArgument(
            f"{duration!r} is not a length of time",
            violations=(Violation("", 'lengths of time look like "500ms", "2m" or "1h30m"'),),
        )
    return sum(int(count) * _UNITS_MS[unit] for count, unit in _PART.findall(duration))


def seconds(duration: Duration | float) -> float:
    """The length in seconds; a bare number is one of seconds. Raises InvalidArgument if it is none."""
    return float(duration) if isinstance(duration, int | float) else milliseconds(duration) / 1000
