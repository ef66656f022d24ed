"""Opaque cursors: where to go on, and of which query. A cursor of another query is refused, not misread."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json

from hmsactd.errors import InvalidArgument, Violation

CURSOR_MAX = 512
"""Longer than any cursor we make: whatever is longer is not ours."""

NUMBER_MAX = 2**63 - 1
"""The largest number that the store knows."""


def encode(query: tuple[str, ...], position: list[int | str]) -> str:
    """A cursor for the position within the results of a query."""
    return written(json.dumps([mark_of(query), *position], separators=(",", ":")))


def written(text: str) -> str:
    """A cursor from its JSON."""
    return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()


def decode(field: str, text: str, query: tuple[str, ...], shape: tuple[type, ...]) -> list[int | str] | None:
    """The position in a cursor, None for an empty one. Raises `InvalidArgument` if it is not a cursor of this query."""
    check(field, text, shape)
    position = _read(text)
    if position is None:
        return None
    if position[0] != mark_of(query):
        sentence = "is a cursor of another query: send it with the filter, order and operation that it came with"
        raise InvalidArgument([Violation(field, sentence, "CURSOR_OF_ANOTHER_QUERY")])
    return position[1:]


def check(field: str, text: str, shape: tuple[type, ...]) -> None:
    """Raises `InvalidArgument` for what is no cursor of any query: what can be said before the query is known."""
    if text and not _is_ours(_read(text), shape):
        raise InvalidArgument([Violation(field, "is not a cursor that this daemon has given", "BAD_CURSOR")])


def _read(text: str) -> list[int | str] | None:
    if len(text) > CURSOR_MAX:
        return None
    try:
        # Strict: whatever is not exactly what `encode` makes is not ours.
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        found = json.loads(raw)
    except (binascii.Error, ValueError):
        return None
    return found if isinstance(found, list) and found else None


def _is_ours(position: list[int | str] | None, shape: tuple[type, ...]) -> bool:
    if position is None:
        return False
    return tuple(map(type, position[1:])) == shape and all(map(_can_be_ours, position[1:]))


def _can_be_ours(part: int | str) -> bool:
    """False for what the store couldn't even be asked for: numbers it doesn't have, text that is no UTF-8."""
    return part.isprintable() if isinstance(part, str) else 0 <= part <= NUMBER_MAX


def mark_of(query: tuple[str, ...]) -> str:
    """What a cursor knows its query by."""
    return hashlib.sha256("\x00".join(query).encode()).hexdigest()[:12]
