"""What a caller has shown, and whom it stands for."""

from __future__ import annotations

from enum import Enum
from typing import NamedTuple, Protocol

from hmsactd.core.principal import Principal
from hmsactd.errors import Unauthenticated


class Credential(NamedTuple):
    """A credential that was accepted. Times are microseconds since the epoch; None is for ever."""

    principal: Principal
    ends_at: int | None = None
    client: str = ""
    """Of a person's token: the client that uses it, as "ISSUER:CLIENT"; "" if it doesn't say."""
    is_of_an_actor: bool = False
    """True for a person's token that says itself that somebody else uses it."""


class Asked(Enum):
    """Whose identity an RPC is about, where a caller shows two: roles are never gathered from both."""

    ANYBODY = ""
    PERSON = "person"
    WORKLOAD = "workload"


class Door(Protocol):
    """One kind of bearer token."""

    def credential(self, token: str, now: int) -> Credential | None:
        """Returns what it stands for, None if it is of another kind; raises Unauthenticated if it is no good."""
        ...


class NotKnownYet(Unauthenticated):
    """Raised for what may be known once somebody else was asked: do that, and look again, once."""

    async def ask(self) -> None:
        """Asks."""
        raise NotImplementedError
