"""Who may decide, hold or skip: roles, and separation of duties between people.

Each function passes, or raises `Rejected` with the rule that stands in the way. Which permissions a principal has at
all is the business of hmsactd.identity.
"""

from __future__ import annotations

from hmsactd.core.operation import CheckpointItem, Operation
from hmsactd.core.principal import Principal, PrincipalKind
from hmsactd.core.rejected import Ground, Rejected


def may_decide(operation: Operation, checkpoint: CheckpointItem, by: Principal) -> None:
    """A person with the role, who did not start the operation, and whom no claim of another stands in the way."""
    may_hold(operation, checkpoint, by)
    if checkpoint.claimed_by is not None and checkpoint.claimed_by != by.id:
        raise Rejected(
            Ground.PRECONDITION,
            "CLAIMED_BY_ANOTHER",
            f"{checkpoint.claimed_by} has claimed {checkpoint.definition.name}",
            claimed_by=checkpoint.claimed_by,
        )


def may_hold(operation: Operation, checkpoint: CheckpointItem, who: Principal) -> None:
    """Whoever a checkpoint is given to: a person with the role, who did not start the operation, nor had it started."""
    name, role = checkpoint.definition.name, checkpoint.definition.role
    if who.kind is not PrincipalKind.PERSON:
        raise Rejected(Ground.PERMISSION, "NOT_A_PERSON", f"{who.id} is not a person: only people decide checkpoints")
    if not who.has_role(role):
        raise Rejected(Ground.PERMISSION, "ROLE_MISSING", f"{name} is decided by {role}, a role that {who.id} lacks")
    if who.id == operation.started_by.person:
        raise Rejected(
            Ground.PERMISSION, "STARTED_BY_CALLER", f"{who.id} started the operation, so somebody else decides {name}"
        )
    if who.id == operation.started_by.on_behalf_of:
        raise Rejected(
            Ground.PERMISSION,
            "STARTED_FOR_CALLER",
            f"the operation was started on behalf of {who.id}, so somebody else decides {name}",
        )


def may_skip(operation: Operation, by: Principal) -> None:
    """Anybody with the permission but whoever started the operation, had it started, or acts for one of those."""
    starter = operation.started_by
    if by.id == starter.id or (starter.person is not None and starter.person in by.people):
        raise Rejected(
            Ground.PERMISSION, "STARTED_BY_CALLER", f"{by.id} started the operation, so somebody else skips its steps"
        )
    if starter.on_behalf_of is not None and starter.on_behalf_of in by.people:
        raise Rejected(
            Ground.PERMISSION,
            "STARTED_FOR_CALLER",
            f"the operation was started on behalf of {starter.on_behalf_of}, so somebody else skips its steps",
        )
