"""A check: what it claims, where one reads about it, and what came of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Generic, TypeVar

from hmsactd.conformance.unmet import NotApplicable, Unmet

PAGE: Final = "docs/implementing.md"

Subject = TypeVar("Subject", contravariant=True)


class Outcome(StrEnum):
    """What came of a check."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_RUN = "not_run"


@dataclass(frozen=True, slots=True)
class Check(Generic[Subject]):
    """One thing that a worker or a service has to do. `section` is the paragraph of the page that asks for it."""

    name: str
    claim: str
    section: str
    play: Callable[[Subject], Awaitable[None]]

    @property
    def read(self) -> str:
        """Where to read about it."""
        return f"{PAGE}#{self.section}"


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a check. For a failed one what was expected, and what happened; for one not run, why."""

    name: str
    claim: str
    outcome: Outcome
    read: str
    expected: str = ""
    happened: str = ""

    def as_json(self) -> dict[str, str]:
        """For machines: what is empty is left out."""
        told = {
            "name": self.name,
            "claim": self.claim,
            "outcome": self.outcome.value,
            "expected": self.expected,
            "happened": self.happened,
            "read": self.read,
        }
        return {name: value for name, value in told.items() if value}


async def played(check: Check[Subject], subject: Subject) -> Result:
    """Play a check, and say what came of it."""
    try:
        await check.play(subject)
    except Unmet as unmet:
        return failed(check, unmet)
    except NotApplicable as reason:
        return Result(check.name, check.claim, Outcome.NOT_RUN, check.read, happened=str(reason))
    return Result(check.name, check.claim, Outcome.PASSED, check.read)


def failed(check: Check[Subject], unmet: Unmet) -> Result:
    """What came of a check that failed."""
    return Result(check.name, check.claim, Outcome.FAILED, check.read, unmet.expected, unmet.happened)
