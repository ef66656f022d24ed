"""The session of a called service: a worker's session that takes no more calls than its pace allows."""

from __future__ import annotations

from dataclasses import replace

from hmsactd.clock import Clock
from hmsactd.core.principal import Principal, PrincipalKind
from hmsactd.engine.dispatch import ANY_STEP
from hmsactd.engine.session import Call, Session
from hmsactd.services.pace import Pace
from hmsactd.settings.called import Called

ISSUER = "called"
"""Who says that an answer is the service's: the daemon, who called it at its configured address."""


def principal_of(svc: str, called: Called) -> Principal:
    """Who reports what the service answered. `method` says how the daemon made sure that it was the service."""
    method = "tls" if called.is_encrypted else "cleartext"
    return Principal(PrincipalKind.SERVICE, ISSUER, f"svc/{svc}", method=method)


class CalledSession(Session):
    """Its name stays the same across restarts, so that the daemon knows that what it held is lost."""

    def __init__(self, svc: str, called: Called, pace: Pace, clock: Clock) -> None:
        steps = frozenset(called.steps or (ANY_STEP,))
        # With its namespace: under another one it is another session, and what the old one held goes after the grace.
        name = f"called_{called.namespace}.{svc}"
        super().__init__(name, principal_of(svc, called), called.namespace, svc, steps, called.concurrency)
        self._pace = pace
        self._clock = clock

    @property
    def free(self) -> int:
        """How many more calls it takes now."""
        return min(super().free, self._pace.room(self._clock.passed()) - self.reserved)

    def give(self, call: Call, now: int) -> None:
        """Hand it a call that is on the record."""
        self._pace.spend(now)
        # The connection is the sign of life: it lasts as long as the service works on the answer.
        super().give(replace(call, heartbeat_ms=None), now)
