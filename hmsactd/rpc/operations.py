"""`OperationService`: start, find, steer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection
from contextlib import aclosing
from typing import Any

from grpc import aio
from hmsact.v1 import operation_pb2 as pb
from hmsact.v1 import operation_pb2_grpc

from hmsactd.core.inputs import Cancel, Pause, Resume, RetryStep, SkipStep
from hmsactd.errors import NotFound, Unavailable
from hmsactd.rpc import convert, cursor, where
from hmsactd.rpc.bulk import BulkStarter
from hmsactd.rpc.caller import caller
from hmsactd.rpc.desk import Desk, check, fitting, namespace_of, revision_of
from hmsactd.rpc.patience import Patience
from hmsactd.rpc.start import Starter
from hmsactd.rpc.streams import Streams
from hmsactd.rpc.times import span_ms
from hmsactd.store.store import By
from hmsactd.store.where import Order

Context = aio.ServicerContext[Any, Any]

WAIT_DEFAULT_MS = 60_000
WAIT_MAX_MS = 600_000

OUTPUTS_SHARE = 4
"""Outputs that travel with an operation have a quarter of a message, 1 MiB by default. 256 KiB of JSON are kept as up
to 768 KiB, because everything but ASCII is escaped: with an input, and the last output once more as the operation's,
that comes to 2.5 of 4 MiB."""

OUTPUTS_READ_AT_A_TIME = 4


class OperationServicer(operation_pb2_grpc.OperationServiceServicer):
    """Starts operations, finds them and steers them."""

    def __init__(self, desk: Desk, patience: Patience, streams: Streams) -> None:
        self._desk = desk
        self._patience = patience
        self._starter = Starter(desk)
        self._bulk = BulkStarter(desk, self._starter, patience, streams)

    async def StartOperation(self, request: pb.StartOperationRequest, context: Context) -> pb.StartOperationResponse:
        return convert.started(await self._starter.start(request))

    async def StartOperations(
        self, request_iterator: Any, context: Context
    ) -> AsyncIterator[pb.StartOperationsResponse]:
        # Closed here and now: a task group must end in the task that began it.
        async with aclosing(self._bulk.answers(request_iterator)) as answers:
            async for answer in answers:
                yield answer

    # -- find ----------------------------------------------------------------------------------------------------------

    async def GetOperation(self, request: pb.GetOperationRequest, context: Context) -> pb.GetOperationResponse:
        namespace = namespace_of(self._desk, request)
        operation_id = await self._desk.resolve(namespace, request.operation_id)
        operation = await shown(self._desk, namespace, operation_id, request.outputs_of)
        return pb.GetOperationResponse(operation=operation)

    async def ListOperations(self, request: pb.ListOperationsRequest, context: Context) -> pb.ListOperationsResponse:
        checked = check(self._desk, request)
        order = _ORDERS.get((request.order_by or "start_time desc").removesuffix(" desc"))
        if order is None:
            checked.fault("order_by", f'is none of {", ".join(_ORDERS)}, maybe with " desc"', "BAD_ORDER")
        wanted = checked.gather(lambda: where.parse(request.filter))
        query = ("operations", checked.namespace, request.filter, request.order_by)
        after = checked.gather(lambda: cursor.decode("page_token", request.page_token, query, (int, int)))
        if wanted is not None:
            self._desk.check_words("filter", checked, wanted)
        checked.done()
        assert wanted is not None and order is not None
        rows = await self._desk.store.operations(
            checked.namespace,
            wanted,
            order=order,
            after=(int(after[0]), int(after[1])) if after is not None else None,
            oldest_first=request.order_by != "" and not request.order_by.endswith(" desc"),
            limit=self._desk.page_size(request.page_size),
        )
        may_read = self._desk.may_read_payloads
        page = fitting(convert.summary(row, may_read) for row in rows)
        beyond = rows.found[len(page) - 1][0] if len(page) < len(rows) else rows.beyond
        token = cursor.encode(query, [*beyond]) if beyond is not None else ""
        return pb.ListOperationsResponse(operations=page, next_page_token=token)

    async def CountOperations(self, request: pb.CountOperationsRequest, context: Context) -> pb.CountOperationsResponse:
        checked = check(self._desk, request)
        if request.group_by not in ("", *_GROUPS):
            checked.fault("group_by", f"is none of {', '.join(_GROUPS)}", "UNKNOWN_VALUE")
        wanted = checked.gather(lambda: where.parse(request.filter))
        if wanted is not None:
            self._desk.check_words("filter", checked, wanted)
        checked.done()
        assert wanted is not None
        counted = await self._desk.store.count(checked.namespace, wanted, _GROUPS.get(request.group_by))
        groups = [pb.CountedGroup(value=value, count=count) for value, count in counted.groups]
        return pb.CountOperationsResponse(count=counted.count, is_at_least=not counted.is_exact, groups=groups)

    async def WaitOperation(self, request: pb.WaitOperationRequest, context: Context) -> pb.WaitOperationResponse:
        checked = check(self._desk, request)
        if span_ms(request.timeout) < 0:
            checked.fault("timeout", "is negative", "OUT_OF_RANGE")
        checked.done()
        namespace = checked.namespace
        operation_id = await self._desk.resolve(namespace, request.operation_id)
        wait_ms = min(span_ms(request.timeout), WAIT_MAX_MS) if request.HasField("timeout") else WAIT_DEFAULT_MS
        with self._desk.engine.endings.awaited(namespace, operation_id) as ending:
            row = await self._desk.engine.summary(namespace, operation_id)
            if row is None:
                raise NotFound("OPERATION_UNKNOWN", f"there is no operation {operation_id}")
            if row.ended_at is None:
                await self._patience.news(ending, wait_ms / 1000)
        if ending.summary is not None:
            row = ending.summary
        elif row.ended_at is None and self._patience.is_stopping:
            raise Unavailable("SHUTTING_DOWN", "the daemon is shutting down; ask again")
        elif row.ended_at is None:
            row = await self._desk.engine.summary(namespace, operation_id) or row
        return pb.WaitOperationResponse(operation=convert.summary(row, self._desk.may_read_payloads))

    # -- steer ---------------------------------------------------------------------------------------------------------

    async def PauseOperation(self, request: pb.PauseOperationRequest, context: Context) -> pb.PauseOperationResponse:
        checked = check(self._desk, request)
        checked.choice("clock", request.clock, pb.PauseClock)
        stop_clock = request.clock == pb.PAUSE_CLOCK_STOP
        if stop_clock:
            checked.demand("reason", request.reason, "is demanded for a pause that stops the clock")
        reason = checked.words("reason", request.reason)
        checked.done()
        told = Pause(caller(), stop_clock, reason, revision_of(request))
        done = await self._desk.tell(request, "PauseOperation", checked, told)
        return pb.PauseOperationResponse(recorded=convert.recorded(done))

    async def ResumeOperation(self, request: pb.ResumeOperationRequest, context: Context) -> pb.ResumeOperationResponse:
        checked = check(self._desk, request)
        reason = checked.words("reason", request.reason)
        checked.done()
        done = await self._desk.tell(
            request, "ResumeOperation", checked, Resume(caller(), reason, revision_of(request))
        )
        return pb.ResumeOperationResponse(recorded=convert.recorded(done))

    async def CancelOperation(self, request: pb.CancelOperationRequest, context: Context) -> pb.CancelOperationResponse:
        checked = check(self._desk, request)
        reason = checked.words("reason", request.reason)
        checked.done()
        done = await self._desk.tell(
            request, "CancelOperation", checked, Cancel(caller(), reason, revision_of(request))
        )
        return pb.CancelOperationResponse(recorded=convert.recorded(done))

    async def RetryStep(self, request: pb.RetryStepRequest, context: Context) -> pb.RetryStepResponse:
        checked = check(self._desk, request)
        checked.demand("step", request.step, "says no step")
        reason = checked.words("reason", request.reason)
        checked.done()
        told = RetryStep(caller(), request.step, reason, revision_of(request))
        return pb.RetryStepResponse(
            recorded=convert.recorded(await self._desk.tell(request, "RetryStep", checked, told))
        )

    async def SkipStep(self, request: pb.SkipStepRequest, context: Context) -> pb.SkipStepResponse:
        checked = check(self._desk, request)
        checked.demand("step", request.step, "says no step")
        checked.demand("reason", request.reason, "is demanded for a skip")
        reason = checked.words("reason", request.reason)
        checked.done()
        told = SkipStep(caller(), request.step, reason, revision_of(request))
        return pb.SkipStepResponse(recorded=convert.recorded(await self._desk.tell(request, "SkipStep", checked, told)))


_ORDERS = {
    "start_time": Order.STARTED,
    "update_time": Order.UPDATED,
    "end_time": Order.ENDED,
    "awaited.due_time": Order.DUE,
}
_GROUPS = {"state": By.STATE, "name": By.DEFINITION, "awaited.role": By.ROLE, "awaited.service": By.SERVICE}


async def shown(desk: Desk, namespace: str, operation_id: str, outputs_of: Collection[str] = ()) -> pb.Operation:
    """An operation as it is shown: its state, and the words that the caller may read, as far as they fit."""
    state = await desk.view(namespace, operation_id)
    row = await desk.store.summary(namespace, operation_id)
    assert row is not None, "an operation that has a timeline has a summary"
    said = dict(await desk.said(namespace, operation_id, [1]))
    wanted = convert.output_sequences(state, outputs_of)
    room = desk.settings.grpc.message_max_bytes // OUTPUTS_SHARE
    while wanted and room > 0:
        found = await desk.said(namespace, operation_id, wanted[:OUTPUTS_READ_AT_A_TIME])
        for sequence in wanted[:OUTPUTS_READ_AT_A_TIME]:
            output = found.get((sequence, "output"), b"")
            room -= len(output)
            if room < 0:
                break
            said[sequence, "output"] = output
            wanted = wanted[1:]
    return convert.operation(row, state, said, frozenset(wanted), desk.clock.now(), desk.may_read_payloads)
