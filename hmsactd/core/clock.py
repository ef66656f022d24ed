"""An SLA clock as a ledger: a budget, what is used, and since when it runs.

Stopping and starting move time from "runs since" to "used"; nothing is ever reset. Times in microseconds.
"""

from __future__ import annotations

from dataclasses import replace

from hmsactd.core.events import ClockReading
from hmsactd.value import value

AT_RISK_PERCENT = 80
"""Used up to this share of its budget, an SLA is at risk: enough left to act, late enough to mean something."""


@value(frozen=True, slots=True)
class SlaClock:
    """A clock against a budget. `running_since` is None while it is stopped."""

    budget_ms: int
    used_us: int = 0
    running_since: int | None = None
    is_at_risk: bool = False
    is_breached: bool = False

    @property
    def at_risk_due(self) -> int | None:
        """When the clock will be at risk; None while stopped or once said."""
        if self.running_since is None or self.is_at_risk:
            return None
        return self.running_since + self.budget_ms * 1000 * AT_RISK_PERCENT // 100 - self.used_us

    @property
    def breach_due(self) -> int | None:
        """When the budget will be used up; None while stopped or once said."""
        return None if self.is_breached else self.due_at

    @property
    def due_at(self) -> int | None:
        """When the budget will be, or was, used up, whether that has been said or not; None while stopped."""
        if self.running_since is None:
            return None
        return self.running_since + self.budget_ms * 1000 - self.used_us

    @property
    def next_due(self) -> int | None:
        """The earlier of the two."""
        return self.breach_due if self.is_at_risk else self.at_risk_due

    def start(self, at: int) -> SlaClock:
        """Let it run from `at`."""
        return self if self.running_since is not None else replace(self, running_since=at)

    def stop(self, at: int) -> SlaClock:
        """Stop it at `at`."""
        if self.running_since is None:
            return self
        return replace(self, used_us=self.used_us + max(0, at - self.running_since), running_since=None)

    def used_at(self, at: int) -> int:
        """What is used up at `at`, in microseconds."""
        return self.used_us + (max(0, at - self.running_since) if self.running_since is not None else 0)

    def read(self, instance: int, at: int) -> ClockReading:
        """How it stands at `at`."""
        return ClockReading(instance, self.budget_ms, self.used_at(at) // 1000)
