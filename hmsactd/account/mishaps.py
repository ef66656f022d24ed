"""What went wrong with the attempts at a step, to follow the name of its service: of one, or of all in a sentence."""

from __future__ import annotations

from hmsactd.account.passage import LOST, SILENT, Passage
from hmsactd.account.spoken import Said
from hmsactd.account.words import actor, joined, times
from hmsactd.core import events as e

_ERROR = "answered with an error"
_SILENCE = "did not answer in time"
_LOSS = "lost its worker"


def mishap(svc: str, sequence: int, failed: e.StepFailed, said: Said) -> str:
    """What went wrong with one attempt."""
    if failed.code in SILENT:
        return _SILENCE
    return _LOSS if failed.code == LOST else _ERROR + _words(svc, sequence, failed, said)


def mishaps(svc: str, passage: Passage, said: Said) -> str:
    """How often the service was asked, and what went wrong how often; empty if nothing did."""
    # Errors come last, so that the words of the last one can follow.
    counts = ((passage.losses, _LOSS), (passage.silences, _SILENCE), (passage.errors, _ERROR))
    parts = [(what, count) for count, what in counts if count]
    if not parts:
        return ""
    if passage.starts == 1 and len(parts) == 1:
        told = parts[0][0]
    else:
        asked = [("was asked", passage.starts)] if passage.starts else []
        told = joined([f"{what} {times(count)}" for what, count in (*asked, *parts)])
    if passage.error is None:
        return told
    return told + (", the last time" if passage.errors > 1 else "") + _words(svc, *passage.error, said)


def _words(svc: str, sequence: int, failed: e.StepFailed, said: Said) -> str:
    words = said.of(sequence, "error", failed.error).quoted("error")
    # With its token, an attempt may be ended by somebody other than its service.
    told_by = f", as {actor(failed.by)} said" if failed.via and actor(failed.by) != svc else ""
    return f"{told_by}{words}" if words else f" with the code {failed.code}{told_by}"
