"""Who looks after an operation just now, as the shell knows it and no record does."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Attended:
    """How many workers are connected that do the current step, and when the one that has it was last heard of."""

    workers: int | None = None
    heard_at: int | None = None


UNKNOWN = Attended()
