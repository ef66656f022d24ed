"""How a service is called, whatever it speaks."""

from __future__ import annotations

from typing import Protocol

from hmsactd.engine.session import Call
from hmsactd.services.outcome import Outcome


class Caller(Protocol):
    """Calls one service. Every failure of the world is an outcome; the caller of this is held to the deadline."""

    async def call(self, call: Call, deadline_at: int) -> Outcome:
        """Calls it once. It is cancelled at the deadline, or when nobody waits for it any more."""
        ...

    async def is_there(self) -> bool:
        """True if it answers anything at all, asked for what changes nothing."""
        ...

    async def close(self) -> None:
        """Closes its connections."""
        ...
