"""`CheckpointService`: shows people what they are to decide, and takes their decisions."""

from __future__ import annotations

from typing import Any

from grpc import aio
from hmsact.v1 import checkpoint_pb2 as pb
from hmsact.v1 import checkpoint_pb2_grpc

from hmsactd.core.inputs import Assign, Claim, Decide, Release
from hmsactd.core.operation import CheckpointItem, Operation
from hmsactd.core.people import may_decide
from hmsactd.core.principal import EVERY_ROLE, Principal
from hmsactd.core.rejected import Rejected
from hmsactd.core.shown import released_by
from hmsactd.core.transitions import CheckpointState
from hmsactd.engine.requests import Done
from hmsactd.errors import FailedPrecondition, NotFound
from hmsactd.rpc import convert, cursor
from hmsactd.rpc.caller import caller
from hmsactd.rpc.desk import Checked, Desk, check, namespace_of
from hmsactd.rpc.operations import shown
from hmsactd.rpc.times import timestamp
from hmsactd.store.store import Summary

Context = aio.ServicerContext[Any, Any]


class CheckpointServicer(checkpoint_pb2_grpc.CheckpointServiceServicer):
    """Shows people what they are to decide, and takes their decisions."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    # -- find ----------------------------------------------------------------------------------------------------------

    async def GetCheckpoint(self, request: pb.GetCheckpointRequest, context: Context) -> pb.GetCheckpointResponse:
        namespace = namespace_of(self._desk, request)
        operation_id = await self._desk.resolve(namespace, request.operation_id)
        operation = await self._desk.view(namespace, operation_id)
        item = _item(operation, request.checkpoint)
        refusal = _refusal(operation, item, caller())
        message = await shown(self._desk, namespace, operation_id)
        return pb.GetCheckpointResponse(
            operation=message,
            checkpoint=next(found for found in message.items if found.instance == item.instance),
            releases=released_by(operation, item),
            digest=item.digest or "",
            may_decide=not refusal,
            refusal=refusal,
            since_time=timestamp(item.since or None),
        )

    async def ListCheckpoints(self, request: pb.ListCheckpointsRequest, context: Context) -> pb.ListCheckpointsResponse:
        checked = check(self._desk, request)
        namespace, size = checked.namespace, self._desk.page_size(request.page_size)
        query = ("checkpoints", namespace, request.role)
        after = checked.gather(lambda: cursor.decode("page_token", request.page_token, query, (int, str)))
        checked.done()
        rows = await self._desk.store.pending(
            namespace,
            _roles(caller(), request.role),
            after=(int(after[0]), str(after[1])) if after is not None else None,
            limit=size + 1,
        )
        page = rows[:size]
        token = cursor.encode(query, [page[-1].awaits_since or 0, page[-1].operation]) if len(rows) > size else ""
        return pb.ListCheckpointsResponse(checkpoints=[_pending(row, caller()) for row in page], next_page_token=token)

    async def CountCheckpoints(
        self, request: pb.CountCheckpointsRequest, context: Context
    ) -> pb.CountCheckpointsResponse:
        namespace = namespace_of(self._desk, request)
        count = await self._desk.store.count_pending(namespace, _roles(caller(), request.role))
        return pb.CountCheckpointsResponse(count=count)

    # -- decide --------------------------------------------------------------------------------------------------------

    async def ApproveCheckpoint(
        self, request: pb.ApproveCheckpointRequest, context: Context
    ) -> pb.ApproveCheckpointResponse:
        done = await self._decide(request, "ApproveCheckpoint", is_approval=True)
        return pb.ApproveCheckpointResponse(recorded=convert.recorded(done))

    async def RejectCheckpoint(
        self, request: pb.RejectCheckpointRequest, context: Context
    ) -> pb.RejectCheckpointResponse:
        done = await self._decide(request, "RejectCheckpoint", is_approval=False)
        return pb.RejectCheckpointResponse(recorded=convert.recorded(done))

    async def _decide(
        self, request: pb.ApproveCheckpointRequest | pb.RejectCheckpointRequest, rpc: str, is_approval: bool
    ) -> Done:
        checked = self._check(request)
        comment = checked.words("comment", request.comment)
        reason = checked.words("reason", request.reason)
        if request.comment and request.reason and request.comment != request.reason:
            checked.fault("reason", "differs from the comment: say it once, as the comment", "SAID_TWICE")
        checked.done()
        told = Decide(caller(), request.checkpoint, is_approval, request.seen or None, comment or reason)
        return await self._desk.tell(request, rpc, checked, told)

    # -- hand over -----------------------------------------------------------------------------------------------------

    async def ClaimCheckpoint(self, request: pb.ClaimCheckpointRequest, context: Context) -> pb.ClaimCheckpointResponse:
        checked = self._check(request)
        reason = checked.words("reason", request.reason)
        checked.done()
        told = Claim(caller(), request.checkpoint, reason)
        done = await self._desk.tell(request, "ClaimCheckpoint", checked, told)
        return pb.ClaimCheckpointResponse(recorded=convert.recorded(done))

    async def ReleaseCheckpoint(
        self, request: pb.ReleaseCheckpointRequest, context: Context
    ) -> pb.ReleaseCheckpointResponse:
        checked = self._check(request)
        reason = checked.words("reason", request.reason)
        checked.done()
        told = Release(caller(), request.checkpoint, reason)
        done = await self._desk.tell(request, "ReleaseCheckpoint", checked, told)
        return pb.ReleaseCheckpointResponse(recorded=convert.recorded(done))

    async def AssignCheckpoint(
        self, request: pb.AssignCheckpointRequest, context: Context
    ) -> pb.AssignCheckpointResponse:
        checked = self._check(request)
        checked.demand("assignee", request.assignee, 'says nobody; write "issuer:subject"')
        reason = checked.words("reason", request.reason)
        assignee = self._desk.identity.person(request.assignee)
        unknown = f"the directory knows nobody called {request.assignee}"
        if assignee is None and request.assignee and checked.faults:
            checked.fault("assignee", unknown, "PERSON_UNKNOWN")
        checked.done()
        if assignee is None:
            raise NotFound("PERSON_UNKNOWN", unknown)
        told = Assign(caller(), request.checkpoint, assignee, reason)
        done = await self._desk.tell(request, "AssignCheckpoint", checked, told)
        return pb.AssignCheckpointResponse(recorded=convert.recorded(done))

    def _check(self, request: Any) -> Checked:
        checked = check(self._desk, request)
        checked.demand("checkpoint", request.checkpoint, "says no checkpoint")
        return checked


def _item(operation: Operation, name: str) -> CheckpointItem:
    """The checkpoint of this name, or the one that is pending."""
    if name:
        item = operation.checkpoint(name)
        if item is None:
            raise NotFound("CHECKPOINT_UNKNOWN", f"the operation has no checkpoint {name}")
        return item
    current = operation.current
    if isinstance(current, CheckpointItem) and current.state is CheckpointState.PENDING:
        return current
    raise FailedPrecondition("CHECKPOINT_NOT_PENDING", "no checkpoint of the operation is pending")


def _refusal(operation: Operation, item: CheckpointItem, who: Principal) -> str:
    """Why somebody may not decide a checkpoint now; empty if they may."""
    if operation.is_final or item.state is not CheckpointState.PENDING:
        return f"{item.definition.name} is {item.state.value}"
    try:
        may_decide(operation, item, who)
    except Rejected as rejected:
        return rejected.sentence
    return ""


def _roles(who: Principal, asked: str) -> tuple[str, ...] | None:
    """The roles whose checkpoints are listed: the one asked for, or all that the caller has; None for every role."""
    if asked:
        return (asked,)
    return None if EVERY_ROLE in who.roles else who.roles


def _pending(row: Summary, who: Principal) -> pb.PendingCheckpoint:
    may = who.has_role(row.awaits_who) and who.id not in row.people and row.claimed_by in (None, who.id)
    return pb.PendingCheckpoint(
        namespace=row.namespace,
        operation_id=row.operation,
        definition=row.definition,
        checkpoint=row.awaits_name,
        role=row.awaits_who,
        since_time=timestamp(row.awaits_since),
        due_time=timestamp(row.due_at),
        claimed_by=row.claimed_by or "",
        assigned_to=row.assigned_to or "",
        may_decide=may and who.kind.value == "person",
    )
