"""Which permissions a principal has. The permission that an RPC asks for is written in the proto."""

from __future__ import annotations

from hmsactd.core.principal import EVERY_ROLE, Principal, PrincipalKind

PUBLIC = "public"
"""What an RPC asks for that anybody may call who is known at all."""

EVERY_PERMISSION = "*"

PAYLOAD_READ = "payload.read"
"""To see what callers said in their own words: inputs, outputs, reasons, comments. No RPC asks for it as a whole: each
shows without it everything else."""

READ = frozenset(("operation.read", "checkpoint.read", "timeline.read", PAYLOAD_READ))

PERSON = READ | frozenset(
    (
        "timeline.export",
        "operation.start",
        "operation.pause",
        "operation.resume",
        "operation.cancel",
        "step.retry",
        "step.skip",
        "job.cancel",
        "checkpoint.decide",
        "checkpoint.claim",
        "checkpoint.assign",
    )
)
"""People may run operations; which checkpoints they may decide is a matter of their roles and of the core."""

SERVICE = frozenset(("step.serve", "operation.start", "operation.read", "timeline.read", PAYLOAD_READ))
"""Services do steps, start what follows from their own work, and see what became of it. They decide nothing."""

AGENT = READ | frozenset(("operation.start",))
"""Agents start and look; everything that needs a judgement is left to the person responsible for them."""

BY_KIND: dict[PrincipalKind, frozenset[str]] = {
    PrincipalKind.PERSON: PERSON,
    PrincipalKind.SERVICE: SERVICE,
    PrincipalKind.AGENT: AGENT,
    # The daemon acts without asking itself.
    PrincipalKind.SYSTEM: frozenset(),
}

EVERYTHING = frozenset((EVERY_PERMISSION,))


def permissions_of(principal: Principal) -> frozenset[str]:
    """The permissions of a principal; "*" stands for every one."""
    return EVERYTHING if EVERY_ROLE in principal.roles else BY_KIND[principal.kind]


def may(principal: Principal, permission: str) -> bool:
    """True if the principal has the permission."""
    held = permissions_of(principal)
    return permission in held or permission == PUBLIC or held is EVERYTHING
