"""What callers said in their own words, as an account quotes it: in one line, not at any length, or why it can't."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import assert_never

from hmsactd.core.payload import Payload

QUOTED_MAX = 300
"""Letters of a comment or an error that are quoted in a sentence."""

_JOINER = "\u200d"  # Holds some emoji together; harmless, though not printable.


class SpokenState(StrEnum):
    """Whether words can be shown."""

    NONE = "none"
    SHOWN = "shown"
    ERASED = "erased"
    WITHHELD = "withheld"


@dataclass(frozen=True, slots=True)
class Spoken:
    """Words, if there are any to be shown."""

    state: SpokenState
    text: str = ""

    @property
    def fate(self) -> str:
        """What has become of words that can't be shown."""
        return "has been erased" if self.state is SpokenState.ERASED else "is not shown to you"

    def quoted(self, what: str) -> str:
        """The words as the end of a sentence; where they can't be shown, `what` they are and why not."""
        match self.state:
            case SpokenState.NONE:
                return ""
            case SpokenState.SHOWN:
                return f": {quote(self.text)}"
            case SpokenState.ERASED | SpokenState.WITHHELD:
                return f" (the {what} {self.fate})"
            case _:
                assert_never(self.state)


@dataclass(frozen=True, slots=True)
class Said:
    """The words of an operation by sequence and name, as far as they are still there and the reader may see them."""

    texts: Mapping[tuple[int, str], str]
    may_read: bool = True

    def of(self, sequence: int, name: str, payload: Payload | None) -> Spoken:
        """What was said as a payload of an event."""
        if payload is None:
            return Spoken(SpokenState.NONE)
        if not self.may_read:
            return Spoken(SpokenState.WITHHELD)
        text = self.texts.get((sequence, name))
        return Spoken(SpokenState.ERASED) if text is None else Spoken(SpokenState.SHOWN, text)


def quote(text: str) -> str:
    """The text between quotation marks, in one line that nothing in it can break or turn round."""
    line = " ".join("".join(letter if letter.isprintable() or letter == _JOINER else " " for letter in text).split())
    return f"“{line[:QUOTED_MAX].rstrip()} …”" if len(line) > QUOTED_MAX else f"“{line}”"
