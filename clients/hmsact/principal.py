"""Who acts, as the daemon authenticated them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from hmsact.plain import word
from hmsact.v1 import principal_pb2, system_pb2


@dataclass(frozen=True, slots=True)
class Principal:
    """An authenticated actor; issuer and subject together name it.

    `kind` is "person", "service", "agent" or "system", `roles` those it held when it acted ("*": every one),
    `method` how it was authenticated. `responsible` is the person behind an agent, `on_behalf_of` the person a program
    acts for, who had signed in; both are "issuer:subject".
    """

    kind: str
    issuer: str
    subject: str
    roles: tuple[str, ...] = ()
    method: str = ""
    responsible: str = ""
    on_behalf_of: str = ""

    @property
    def id(self) -> str:
        """The name by which records and settings refer to it: "issuer:subject"."""
        return f"{self.issuer}:{self.subject}"

    def __str__(self) -> str:
        return self.subject


@dataclass(frozen=True, slots=True)
class Identity:
    """The caller, as the daemon sees it. `permissions` are names such as "operation.start"; "*" stands for all."""

    principal: Principal
    permissions: tuple[str, ...]


def subject_of(id: str) -> str:  # noqa: A002 - principals are named by ids
    """The subject of an "issuer:subject": how people call somebody."""
    return _ISSUER.sub("", id, count=1) or id


# Of an address, also with a port or a path, or a plain name. Where an issuer ends is only guessed, to show the rest.
_ISSUER = re.compile(r"^(https?://[^:/]+(:[0-9]{1,5}(?=[:/]))?(/[^:]*)?|[^:]*):")


def principal_of(message: principal_pb2.Principal) -> Principal:
    """Reads a principal."""
    return Principal(
        kind=word(principal_pb2.PrincipalKind.DESCRIPTOR, message.kind),
        issuer=message.issuer,
        subject=message.subject,
        roles=tuple(message.roles),
        method=message.method,
        responsible=message.responsible,
        on_behalf_of=message.on_behalf_of,
    )


def identity_of(message: system_pb2.WhoamiResponse) -> Identity:
    """Reads who the caller is."""
    return Identity(principal_of(message.principal), tuple(message.permissions))
