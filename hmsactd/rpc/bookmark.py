"""Where a follower of the whole log stands, as a cursor: of which log, at which position, after which record.

The leaf of that record is part of it. So a cursor from before a restored backup is found out, even when the log has
grown past it again.
"""

from __future__ import annotations

import hashlib

from hmsactd.errors import FailedPrecondition, InvalidArgument, Violation
from hmsactd.rpc import cursor
from hmsactd.rpc.chosen import Chosen
from hmsactd.timeline.timeline import Timelines

SHAPE = (str, int, str)
LEAF_LETTERS = 16


class Bookmarks:
    """Makes and reads the cursors of one choice of events in one namespace."""

    __slots__ = ("_log", "_opening", "_query")

    def __init__(self, log: str, namespace: str, chosen: Chosen) -> None:
        self._log = hashlib.sha256(log.encode()).hexdigest()[:12]
        self._query = ("stream", namespace, chosen.text)
        # One is made for every event: what they share is written once.
        self._opening = f'["{cursor.mark_of(self._query)}","{self._log}",'

    def at(self, position: int, leaf: bytes | None) -> str:
        """The cursor that resumes at a position; the leaf is that of the record before it."""
        mark = leaf.hex()[:LEAF_LETTERS] if leaf is not None else ""
        return cursor.written(f'{self._opening}{position},"{mark}"]')

    async def position(self, field: str, said: str, timelines: Timelines) -> int:
        """The position that a cursor names. Raises what says why it can't be resumed here."""
        if not said:
            raise InvalidArgument([Violation(field, "is empty: leave it out to begin with the next event", "REQUIRED")])
        found = cursor.decode(field, said, self._query, SHAPE)
        assert found is not None, "only an empty cursor says nothing"
        log, position, mark = str(found[0]), int(found[1]), str(found[2])
        if log != self._log:
            sentence = "is a cursor of another log: another daemon has given it, or this one before it began anew"
            raise InvalidArgument([Violation(field, sentence, "CURSOR_OF_ANOTHER_LOG")])
        places = {"position": str(position), "size": str(timelines.size)}
        if position > timelines.size:
            raise FailedPrecondition(
                "CURSOR_AHEAD",
                f"the cursor stands at {position} and the log has {timelines.size} records: it was restored to an"
                " earlier state, and what this follower has seen since is no longer on the record",
                metadata=places,
            )
        if mark != await _mark_before(position, timelines):
            raise FailedPrecondition(
                "CURSOR_DIVERGED",
                f"record {position - 1} is not the one that the cursor comes after: the log was restored to an earlier"
                " state and has grown differently since",
                metadata=places,
            )
        return position

    async def now(self, position: int, timelines: Timelines) -> str:
        """The cursor of a position whose leaf is not at hand."""
        row = await timelines.log(position - 1, position, 1) if position else []
        return self.at(position, row[0].leaf if row else None)


async def _mark_before(position: int, timelines: Timelines) -> str:
    row = await timelines.log(position - 1, position, 1) if position else []
    return row[0].leaf.hex()[:LEAF_LETTERS] if row else ""
