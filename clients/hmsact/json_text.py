"""JSON in and out of Python, strictly: what has no exact JSON form is refused with the place where it stands."""

from __future__ import annotations

import json
import math
from typing import Any

from hmsact.errors import InvalidArgument, Violation

_DEPTH_MAX = 200  # The daemon's own bound is far lower; this only keeps a circle in the data from recursing for ever.

# One encoder for all: json.dumps makes another for every value when it is told how to write.
_text = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode


def write(value: object, at: str = "") -> bytes:
    """Writes a value as JSON text (UTF-8, no blanks).

    `at` is the JSON pointer under which faults are reported. Raises InvalidArgument with every fault: what is neither
    null, boolean, number, text, list nor mapping with texts as keys, and numbers that JSON does not have (NaN).
    """
    faults: list[Violation] = []
    _look(value, at, 0, faults)
    if faults:
        raise InvalidArgument("cannot be written as JSON", reason="NOT_JSON", violations=tuple(faults))
    return _text(value).encode()


def read(text: bytes) -> Any:
    """The value of a JSON text; None for an empty one, which stands for "nothing was said"."""
    return json.loads(text) if text else None


def pointer(at: str, key: str | int) -> str:
    """The JSON pointer (RFC 6901) of a member of what is at `at`."""
    return f"{at}/{str(key).replace('~', '~0').replace('/', '~1')}"


def _look(value: object, at: str, depth: int, faults: list[Violation]) -> None:
    if depth > _DEPTH_MAX:
        faults.append(Violation(at, "is nested too deeply", "TOO_DEEP"))
        return
    match value:
        case None | bool() | int():
            pass
        case str():
            if not _is_unicode(value):
                faults.append(Violation(at, "holds half a character (a lone surrogate)", "NOT_JSON"))
        case float():
            if not math.isfinite(value):
                faults.append(Violation(at, f"{value} has no JSON form", "NOT_JSON"))
        case dict():
            for key, member in value.items():
                if isinstance(key, str) and _is_unicode(key):
                    _look(member, pointer(at, key), depth + 1, faults)
                else:
                    faults.append(Violation(at, f"the key {key!r} is not a text", "NOT_JSON"))
        case list() | tuple():
            for index, member in enumerate(value):
                _look(member, pointer(at, index), depth + 1, faults)
        case _:
            faults.append(Violation(at, f"a {type(value).__name__} has no JSON form", "NOT_JSON"))


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
