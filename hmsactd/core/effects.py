"""What the shell must see to for an operation. Effects follow from state alone; the shell compares old and new."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RunStep:
    """Find a worker of `svc` for this attempt."""

    instance: int
    attempt: int
    svc: str
    step: str
    queued_at: int


@dataclass(frozen=True, slots=True)
class AwaitReport:
    """A worker session has this attempt: watch over it, and withdraw it once this effect is gone."""

    instance: int
    attempt: int
    svc: str
    session: str


@dataclass(frozen=True, slots=True)
class AwaitDecision:
    """A person with this role is to decide."""

    instance: int
    role: str


@dataclass(frozen=True, slots=True)
class WakeAt:
    """Tell the operation `TimerDue` at this time, or as soon after as can be."""

    at: int


Effect = RunStep | AwaitReport | AwaitDecision | WakeAt
