"""What comes of calling a service once."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Done:
    """The service has done the step. `output` is its answer as it came, a JSON text."""

    output: bytes


@dataclass(frozen=True, slots=True)
class Failed:
    """The service has failed, or could not be asked.

    `is_unreachable` if it is not known to have answered at all. `asks_for_peace_ms` is for how long it wants no
    further call of any step, `retry_after_ms` for how long none of this one.
    """

    code: str
    message: str
    is_permanent: bool = False
    is_unreachable: bool = False
    retry_after_ms: int | None = None
    asks_for_peace_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Deferred:
    """The service has taken the step on and will complete it later. `until`: by when, if it says so."""

    until: int | None = None


Outcome = Done | Failed | Deferred
