"""What an operation may not be told now, and why. Raised by `decide`; nothing has happened."""

from __future__ import annotations

from enum import StrEnum


class Ground(StrEnum):
    """On what ground something is rejected; the edge turns it into a status."""

    UNKNOWN = "unknown"
    """There is no such step or checkpoint."""
    PRECONDITION = "precondition"
    """The operation is not in a state that allows it."""
    PERMISSION = "permission"
    """The principal may not do it, here and now."""
    CHANGED = "changed"
    """The flow has changed since the caller looked."""


class Rejected(Exception):
    """Raised when an operation is told something that is not allowed: `code` for machines, a sentence for people."""

    def __init__(self, ground: Ground, code: str, sentence: str, **facts: str) -> None:
        super().__init__(sentence)
        self.ground = ground
        self.code = code
        self.sentence = sentence
        self.facts = facts
