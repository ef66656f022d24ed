"""Who acts, as the daemon authenticated them. How they were authenticated is not known here."""

from __future__ import annotations

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

    @property
    def id(self) -> str:
        """The name by which records, settings and people refer to it: "issuer:subject"."""
        return f"{self.issuer}:{self.subject}"

    @property
    def person(self) -> str | None:
        """The human being behind it: itself, or who is responsible for the agent. A service has none."""
        return self.id if self.kind is PrincipalKind.PERSON else self.responsible

    def has_role(self, role: str) -> bool:
        """True if it holds the role."""
        return role in self.roles or EVERY_ROLE in self.roles


DAEMON = Principal(PrincipalKind.SYSTEM, "system", "hmsactd", method="system")
