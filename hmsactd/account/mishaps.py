"""What went wrong with the attempts at a step, in one sentence however many they were."""

from __future__ import annotations

from hmsactd.account.passage import Passage
from hmsactd.account.spoken import Said
from hmsactd.account.words import joined, times


def mishaps(passage: Passage, said: Said) -> str:
    """What was asked and what came of it, to follow the name of the service; empty if nothing went wrong."""
    counts = (
        (passage.losses, "lost its worker"),
        (passage.silences, "did not answer in time"),
        # The last of them, so that its words can follow.
        (passage.errors, "answered with an error"),
    )
    parts = [f"{what} {times(count)}" for count, what in counts if count]
    if not parts:
        return ""
    if passage.starts == 1 and len(parts) == 1:
        return next(what for count, what in counts if count) + _last_error(passage, said)
    asked = [f"was asked {times(passage.starts)}"] if passage.starts else []
    return joined([*asked, *parts]) + _last_error(passage, said)


def _last_error(passage: Passage, said: Said) -> str:
    if passage.error is None:
        return ""
    sequence, failure = passage.error
    quoted = said.of(sequence, "error", failure.error).quoted("error")
    last = ", the last time" if passage.errors > 1 else ""
    return last + (quoted or f" with the code {failure.code}")
