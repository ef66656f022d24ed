"""Whether operations may be started just now. What is under way goes on: decisions and reports are always heard."""

from __future__ import annotations

from hmsactd.errors import HmsactdError


class Intake:
    """Open, or closed for reasons, by who closed it."""

    __slots__ = ("_refusals", "refusal")

    def __init__(self) -> None:
        self._refusals: dict[str, HmsactdError] = {}
        self.refusal: HmsactdError | None = None
        """What whoever wants to start something is told; None while it is open. Every start reads it."""

    def admit(self) -> None:
        """Raises the refusal, if there is one."""
        if self.refusal is not None:
            raise self.refusal.with_traceback(None)

    def close(self, error: HmsactdError) -> bool:
        """Refuses starts with this error, until it is opened for the same reason; returns whether that is news."""
        is_news = error.reason not in self._refusals
        self._refusals[error.reason] = error
        self._choose()
        return is_news

    def open(self, reason: str) -> bool:
        """This reason is over; returns whether that is news."""
        was_closed = self._refusals.pop(reason, None) is not None
        self._choose()
        return was_closed

    def _choose(self) -> None:
        self.refusal = next(iter(self._refusals.values()), None)
