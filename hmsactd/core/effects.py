"""What the shell must see to for an operation. Effects follow from state alone; the shell compares old and new."""

from __future__ import annotations

from hmsactd.value import value


@value(frozen=True, slots=True)
class RunStep:
    """Find a worker of `svc` for this attempt."""

    instance: int
    attempt: int
    svc: str
    step: str
    queued_at: int


@value(frozen=True, slots=True)
class AwaitReport:
    """A worker session has this attempt: watch over it, and withdraw it once this effect is gone."""

    instance: int
    attempt: int
    svc: str
    session: str


@value(frozen=True, slots=True)
class AwaitCompletion:
    """Nobody here has this attempt: somebody is to complete it with its token."""

    instance: int
    attempt: int
    svc: str


@value(frozen=True, slots=True)
class AwaitDecision:
    """A person with this role is to decide."""

    instance: int
    role: str


@value(frozen=True, slots=True)
class WakeAt:
    """Tell the operation `TimerDue` at this time, or as soon after as can be."""

    at: int


Effect = RunStep | AwaitReport | AwaitCompletion | AwaitDecision | WakeAt
