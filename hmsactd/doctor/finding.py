"""What was found out about one thing."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How bad it is. With a FAIL the daemon does not start, or should not go on."""

    OK = "ok"
    WARN = "warn"
    FAIL = "FAIL"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report. The sentence says what is the case, and, unless that is well, what to do."""

    level: Level
    about: str
    sentence: str

    def __str__(self) -> str:
        return f"{self.level.value:<4}  {self.about:<15} {self.sentence}"


def ok(about: str, sentence: str) -> Finding:
    """It is as it should be."""
    return Finding(Level.OK, about, sentence)


def warn(about: str, sentence: str) -> Finding:
    """It works, and might not for long."""
    return Finding(Level.WARN, about, sentence)


def fail(about: str, sentence: str) -> Finding:
    """It does not work."""
    return Finding(Level.FAIL, about, sentence)
