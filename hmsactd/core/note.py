"""What belongs on the record although it was rejected: who tried to decide, and what came too late."""

from __future__ import annotations

from hmsactd.core.inputs import CompleteStep, Decide, Input, NoteLateCompletion, NoteRefusal
from hmsactd.core.rejected import Ground, Rejected

TOO_LATE = ("OPERATION_FINAL", "ATTEMPT_OVER")
"""Codes of completions of which nobody has been told yet that they are not needed: money may have moved."""


def note_of(told: Input, rejected: Rejected) -> Input | None:
    """What the operation is told instead; None if the rejection leaves no trace."""
    match told:
        case Decide() if rejected.ground is Ground.PERMISSION:
            return NoteRefusal(told.by, told.checkpoint, rejected.code)
        case CompleteStep() if rejected.code in TOO_LATE:
            return NoteLateCompletion(told.by, told.instance, told.attempt, told.output, told.code, told.error)
        case _:
            return None
