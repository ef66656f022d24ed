"""A service that is checked by calling it, whatever it is called over: how it is asked, and what it answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from hmsactd.conformance.request import Request


class Answer(Protocol):
    """What came back. It reads as whoever wrote the service knows it."""

    @property
    def is_done(self) -> bool:
        """True for a step that is done."""
        ...

    @property
    def is_deferred(self) -> bool:
        """True for a step that is completed later."""
        ...

    @property
    def is_permanent(self) -> bool:
        """True for a failure that is not tried again."""
        ...

    @property
    def output(self) -> Any:
        """What the step returned. Raises Unmet if it is not done, or not in JSON."""
        ...

    @property
    def code(self) -> str | None:
        """The code that a failure says of itself, None if it says nothing of itself."""
        ...

    @property
    def message(self) -> str | None:
        """What a failure says of itself for people, None if nothing."""
        ...

    @property
    def until(self) -> Any:
        """By when what is deferred will be completed, as a text says it; None if it isn't said so."""
        ...


@dataclass(frozen=True, slots=True)
class Manner:
    """What answers look like over a protocol, to go on after "expected"."""

    done: str
    retryable: str
    permanent: str
    deferred: str
    message: str


class Asked(Protocol):
    """A service that is checked."""

    @property
    def manner(self) -> Manner:
        """What its answers look like."""
        ...

    async def ask(self, request: Request) -> Answer:
        """Ask as the daemon does. Raises Unmet when there is no answer."""
        ...
