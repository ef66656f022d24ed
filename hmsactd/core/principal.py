"""Who acts, as the daemon authenticated them. How they were authenticated is not known here."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum


class PrincipalKind(StrEnum):
    """What kind of actor a principal is."""

    PERSON = "person"
    SERVICE = "service"
    AGENT = "agent"
    SYSTEM = "system"


EVERY_ROLE = "*"


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated actor. Issuer and subject together name it for ever; the rest is as it was when it acted."""

    kind: PrincipalKind
    issuer: str
    subject: str
    roles: tuple[str, ...] = ()
    method: str = ""
    responsible: str | None = None
    on_behalf_of: str | None = None
    """For a program: the person it acts for, who had signed in, as "issuer:subject"."""

    @property
    def id(self) -> str:
        """The name by which records, settings and people refer to it: "issuer:subject"."""
        return f"{self.issuer}:{self.subject}"

    @property
    def person(self) -> str | None:
        """The human being behind it: itself, or who is responsible for the agent. A service has none."""
        return self.id if self.kind is PrincipalKind.PERSON else self.responsible

    @property
    def people(self) -> tuple[str, ...]:
        """Everybody whose doing it is: the human being behind it, and the person it acts for."""
        return tuple(who for who in (self.person, self.on_behalf_of) if who is not None)

    def has_role(self, role: str) -> bool:
        """True if it holds the role."""
        return role in self.roles or EVERY_ROLE in self.roles


def subject_of(id: str) -> str:  # noqa: A002 -- the word of Principal.id
    """What people call somebody by: the subject of an "issuer:subject"."""
    return _ISSUER.sub("", id, count=1) or id


# Of an address, also with a port or a path, or a plain name. Only the settings tell for sure where an issuer ends: what
# follows from this is shown, and decides nothing.
_ISSUER = re.compile(r"^(https?://[^:/]+(:[0-9]{1,5}(?=[:/]))?(/[^:]*)?|[^:]*):")

DAEMON = Principal(PrincipalKind.SYSTEM, "system", "hmsactd", method="system")
