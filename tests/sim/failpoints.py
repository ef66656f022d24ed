"""Every point at which the daemon can be made to die: before, in and after each thing that it does to the disk.

The store is the only way to the disk, so the points lie there, and the daemon's own code has none. A write is named
by the events that it holds: that a decision is recorded is another step than that a report is.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from hmsactd.timeline.codec import KINDS


class Moment(StrEnum):
    """Where in a step."""

    BEFORE = "before"
    UNSYNCED = "unsynced"
    """Written, and not yet known to be on the disk: chance says whether it is."""
    AFTER = "after"


class Point(NamedTuple):
    """One failpoint."""

    step: str
    moment: Moment

    def __str__(self) -> str:
        return f"{self.step}:{self.moment}"


OPEN, REOPEN, PROBE = "open", "reopen", "probe"
"""The start of a daemon, which writes its epoch; looking again after a failed write, which writes back; trying."""

WRITE = tuple(f"write {kind}" for kind in KINDS)

RECOVERY = ("recover queue_sizes", "recover calls", "recover tallies")
"""What is read at a start, between the epoch and the first request."""

DURABLE = (OPEN, *WRITE)

POINTS = (
    *(Point(step, moment) for step in DURABLE for moment in Moment),
    *(Point(step, moment) for step in (REOPEN, PROBE, *RECOVERY) for moment in (Moment.BEFORE, Moment.AFTER)),
)
"""The list."""


def point_of(text: str) -> Point:
    """The point of a name, such as "write step_done:unsynced"."""
    step, _, moment = text.rpartition(":")
    point = Point(step, Moment(moment))
    if point not in POINTS:
        raise ValueError(f"there is no failpoint {text}")
    return point
