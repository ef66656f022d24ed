"""Which permissions a principal has. The permission that an RPC asks for is written in the proto."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from hmsactd.core.principal import EVERY_ROLE, Principal, PrincipalKind

PUBLIC: Final = "public"
"""What an RPC asks for that anybody may call who is known at all."""

EVERY_PERMISSION: Final = "*"

PAYLOAD_READ: Final = "payload.read"
"""To see what callers said in their own words: inputs, outputs, reasons, comments. No RPC asks for it as a whole: each
shows without it everything else."""

SERVE: Final = "step.serve"

READ: Final = frozenset(("operation.read", "checkpoint.read", "timeline.read", PAYLOAD_READ))

DECIDE: Final = READ | {"checkpoint.decide", "checkpoint.claim", "checkpoint.assign"}
"""What a role has that the settings name and say no more of: roles that definitions name are those of officers."""

OPERATE: Final = DECIDE | {
    "timeline.export",
    "operation.start",
    "operation.pause",
    "operation.resume",
    "operation.cancel",
    "step.retry",
    "step.skip",
    "job.cancel",
}
"""To run operations; which checkpoints somebody may decide is a matter of their roles and of the core."""

SERVICE: Final = frozenset((SERVE, "operation.start", "operation.read", "timeline.read", PAYLOAD_READ))
"""Services do steps, start what follows from their own work, and see what became of it. They decide nothing."""

AGENT: Final = READ | {"operation.start"}
"""Agents start and look; everything that needs a judgement is left to the person responsible for them."""

BY_KIND: Final[dict[PrincipalKind, frozenset[str]]] = {
    # A person without a role has signed in, and that is all: every employee of an agency can do that.
    PrincipalKind.PERSON: frozenset(),
    PrincipalKind.SERVICE: SERVICE,
    PrincipalKind.AGENT: AGENT,
    # The daemon acts without asking itself.
    PrincipalKind.SYSTEM: frozenset(),
}

BUILT_IN: Final[dict[str, frozenset[str]]] = {
    "hmsact.viewer": READ,
    "hmsact.operator": OPERATE,
}
"""Roles that are there without a line of settings."""

METRICS_READ: Final = "metrics.read"

KNOWN: Final = OPERATE | SERVICE | AGENT | {METRICS_READ}
"""What settings may give. To move the clock is the developer's alone."""

EVERYTHING: Final = frozenset((EVERY_PERMISSION,))
NEVER: Final[dict[PrincipalKind, frozenset[str]]] = {
    PrincipalKind.SERVICE: frozenset(("checkpoint.decide",)),
    PrincipalKind.AGENT: frozenset(("checkpoint.decide", SERVE)),
}
"""What no role gives: a decision is a person's."""


class Permissions:
    """Roles to permissions, as the settings have them."""

    def __init__(self, roles: Mapping[str, frozenset[str]] | None = None) -> None:
        self._roles = BUILT_IN | dict(roles or {})
        self._held: dict[tuple[PrincipalKind, tuple[str, ...]], frozenset[str]] = {}

    def of(self, principal: Principal) -> frozenset[str]:
        """The permissions of a principal; "*" stands for every one."""
        key = principal.kind, principal.roles
        held = self._held.get(key)
        if held is None:
            if len(self._held) > 10_000:
                self._held.clear()
            held = self._held[key] = self._gathered(*key)
        return held

    def may(self, principal: Principal, permission: str) -> bool:
        """True if the principal has the permission."""
        held = self.of(principal)
        return permission in held or permission == PUBLIC or held is EVERYTHING

    def _gathered(self, kind: PrincipalKind, roles: tuple[str, ...]) -> frozenset[str]:
        if EVERY_ROLE in roles:
            return EVERYTHING
        # A role that the settings don't name gives nothing: providers give some, as "offline_access", to everybody.
        given = (self._roles.get(role, frozenset()) for role in roles)
        return BY_KIND[kind].union(*given) - NEVER.get(kind, frozenset())
