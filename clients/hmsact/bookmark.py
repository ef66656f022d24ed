"""Cursors of proved streams: the daemon's own, and beside it what had been proved when it was given."""

from __future__ import annotations

import base64
import binascii
import json

from hmsact.errors import InvalidArgument
from hmsact.frontier import Frontier

SEPARATOR = "."
"""Stands between the daemon's cursor and what a follower adds to it; no cursor of the daemon's has one."""


def joined(cursor: str, log: str, frontier: Frontier) -> str:
    """A cursor that also holds what has been proved until there."""
    text = json.dumps([log, frontier.size, b"".join(frontier.roots).hex()], separators=(",", ":"))
    return f"{cursor}{SEPARATOR}{base64.urlsafe_b64encode(text.encode()).rstrip(b'=').decode()}"


def parted(cursor: str) -> tuple[str, tuple[str, Frontier] | None]:
    """The daemon's part of a cursor, and what had been proved there: of which log, and how far."""
    own, separator, added = cursor.partition(SEPARATOR)
    if not separator:
        return own, None
    try:
        log, size, roots = json.loads(base64.urlsafe_b64decode(added + "=" * (-len(added) % 4)))
        raw = bytes.fromhex(roots)
        return own, (str(log), Frontier(size, [raw[at : at + 32] for at in range(0, len(raw), 32)]))
    except (binascii.Error, ValueError, TypeError, AttributeError) as error:
        raise InvalidArgument("the cursor is not one that a proved stream has given", reason="BAD_CURSOR") from error
