"""Whether the daemon takes requests, and if not, why. Said here; /readyz, a metric and gRPC's health repeat it."""

from __future__ import annotations


class Readiness:
    """Ready, or not ready for a reason."""

    def __init__(self, reason: str = "starting") -> None:
        self._reason: str | None = reason

    @property
    def is_ready(self) -> bool:
        """True if the daemon takes requests."""
        return self._reason is None

    @property
    def reason(self) -> str | None:
        """Why it is not ready; None if it is."""
        return self._reason

    def ready(self) -> None:
        """From now on it takes requests."""
        self._reason = None

    def unready(self, reason: str) -> None:
        """From now on it doesn't, because it is recovering, or stopping, or has no store."""
        self._reason = reason
