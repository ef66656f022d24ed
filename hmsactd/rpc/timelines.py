"""`TimelineService`: watch, read, export.

A watcher registers, then reads from the store, then waits to be told and reads on: no gap, no repetition, and a slow
one costs nobody memory.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

from grpc import aio
from hmsact.v1 import operation_pb2, timeline_pb2_grpc
from hmsact.v1 import timeline_pb2 as pb

from hmsactd.core.apply import apply
from hmsactd.core.operation import Operation
from hmsactd.core.principal import Principal
from hmsactd.definition.flow import ItemDefinition
from hmsactd.errors import InvalidArgument, Unavailable, Violation
from hmsactd.rpc import convert, cursor
from hmsactd.rpc.accounts import explained
from hmsactd.rpc.caller import caller
from hmsactd.rpc.desk import Desk, check
from hmsactd.rpc.everything import Everything
from hmsactd.rpc.patience import Patience
from hmsactd.rpc.streams import Streams
from hmsactd.rpc.times import timestamp
from hmsactd.timeline import codec
from hmsactd.timeline.follow import Follower
from hmsactd.timeline.timeline import Recorded

Context = aio.ServicerContext[Any, Any]

PAGE = 10
"""Events read at a time: most operations have not many more."""

EARLIER_SIZES_MAX = 16

PAGE_MAX_BYTES = 1024 * 1024
"""Records and payloads that are read at a time, and that travel in one page; a larger event is alone in its page.
256 KiB of JSON are kept as up to 768 KiB, because everything but ASCII is escaped: with its record, such an event has
room in a message four times over a page's bound."""

WATCHED_MAX_BYTES = 256 * 1024
"""The same for who watches, and may stop reading at any time: for as long this is kept, and the event that is being
sent, as a message, as bytes, and in gRPC. That is 1 MiB; an event that is larger is alone, and kept four times."""

PART_MAX_BYTES = 1024 * 1024
"""What travels of an export in one message. Parts are cut anywhere: the file is what they are joined to."""


class TimelineServicer(timeline_pb2_grpc.TimelineServiceServicer):
    """Shows what has happened."""

    def __init__(self, desk: Desk, patience: Patience, streams: Streams) -> None:
        self._desk = desk
        self._patience = patience
        self._streams = streams
        self._behind: dict[Follower, int] = {}
        self._everything = Everything(desk, patience, streams)

    @property
    def stream_count(self) -> int:
        """How many watch, an operation or all of them."""
        return len(self._behind) + self._everything.stream_count

    @property
    def lag_max(self) -> int:
        """How many events the slowest has yet to be sent: of the whole log, or of those read of an operation."""
        return max([self._everything.lag_max, *self._behind.values()])

    async def WatchOperation(
        self, request: pb.WatchOperationRequest, context: Context
    ) -> AsyncIterator[pb.WatchOperationResponse]:
        checked = check(self._desk, request)
        checked.gather(lambda: cursor.check("after", request.after, (int,)))
        checked.done()
        namespace = checked.namespace
        operation_id = await self._desk.known(namespace, request.operation_id)
        query = ("watch", namespace, operation_id)
        position = cursor.decode("after", request.after, query, (int,))
        sent = int(position[0]) if position else 0
        with self._following(caller(), namespace, operation_id) as follower:
            story = _Story(await self._history(namespace, operation_id, sent))
            while True:
                async for row, said, behind in self._rows(namespace, operation_id, sent):
                    self._behind[follower] = behind
                    story.hear(row)
                    sent = row.sequence
                    event = convert.event(row, said, story.cast, cursor.encode(query, [sent]), request.with_records)
                    yield pb.WatchOperationResponse(event=event, state=story.state)
                if story.is_final or request.no_follow:
                    # Notes may follow a final state; whoever wants them asks again.
                    return
                if self._patience.is_stopping:
                    raise Unavailable("SHUTTING_DOWN", "the daemon is shutting down; resume from the last cursor")
                if not await self._patience.news(follower, self._desk.settings.streams.heartbeat.seconds):
                    beat = pb.Heartbeat(
                        sequence=sent, time=timestamp(self._desk.clock.now()), cursor=cursor.encode(query, [sent])
                    )
                    yield pb.WatchOperationResponse(heartbeat=beat, state=story.state)

    def WatchEvents(self, request: pb.WatchEventsRequest, context: Context) -> AsyncIterator[Any]:
        return self._everything.watch(request)

    async def ListEvents(self, request: pb.ListEventsRequest, context: Context) -> pb.ListEventsResponse:
        checked = check(self._desk, request)
        checked.gather(lambda: cursor.check("page_token", request.page_token, (int,)))
        checked.done()
        namespace = checked.namespace
        operation_id = await self._desk.known(namespace, request.operation_id)
        size = self._desk.page_size(request.page_size)
        query = ("events", namespace, operation_id, "backwards" if request.backwards else "forwards")
        position = cursor.decode("page_token", request.page_token, query, (int,))
        last = int(position[0]) if position else None
        rows = await self._desk.timelines.records(
            namespace,
            operation_id,
            after=0 if request.backwards or last is None else last,
            before=last if request.backwards else None,
            limit=size + 1,
            backwards=request.backwards,
        )
        page = _fitting(rows[:size], PAGE_MAX_BYTES)
        said = await self._desk.said(namespace, operation_id, [row.sequence for row in page])
        cast = _cast(await self._desk.view(namespace, operation_id))
        token = cursor.encode(query, [page[-1].sequence]) if len(rows) > len(page) else ""
        watch = ("watch", namespace, operation_id)
        return pb.ListEventsResponse(
            events=[
                convert.event(row, said, cast, cursor.encode(watch, [row.sequence]), request.with_records)
                for row in page
            ],
            next_page_token=token,
        )

    async def ExplainOperation(
        self, request: pb.ExplainOperationRequest, context: Context
    ) -> pb.ExplainOperationResponse:
        return await explained(self._desk, request)

    async def ExportOperation(
        self, request: pb.ExportOperationRequest, context: Context
    ) -> AsyncIterator[pb.ExportOperationResponse]:
        checked = check(self._desk, request)
        earlier = checked.gather(lambda: self._sizes(request))
        checked.done()
        assert earlier is not None
        namespace = checked.namespace
        with self._streams.one_more(caller()):
            operation_id = await self._desk.known(namespace, request.operation_id)
            parts = self._desk.timelines.export(
                namespace,
                operation_id,
                self._desk.clock.now(),
                reveal=self._desk.may_read_payloads,
                earlier=earlier,
            )
            async for part in parts:
                for start in range(0, len(part), PART_MAX_BYTES):
                    yield pb.ExportOperationResponse(part=part[start : start + PART_MAX_BYTES])

    def _sizes(self, request: pb.ExportOperationRequest) -> list[int]:
        """The earlier sizes that an export is to be joined to."""
        faults = [
            Violation(
                f"earlier_sizes[{index}]", f"is not a size that the log has had, 1 to {self._desk.timelines.size}"
            )
            for index, size in enumerate(request.earlier_sizes[:EARLIER_SIZES_MAX])
            if not 1 <= size <= self._desk.timelines.size
        ]
        if len(request.earlier_sizes) > EARLIER_SIZES_MAX:
            faults.append(Violation("earlier_sizes", f"are more than {EARLIER_SIZES_MAX}", "TOO_MANY"))
        if faults:
            raise InvalidArgument(faults)
        return list(request.earlier_sizes)

    # -- reading -------------------------------------------------------------------------------------------------------

    async def _rows(
        self, namespace: str, operation_id: str, after: int
    ) -> AsyncIterator[tuple[Recorded, convert.Payloads, int]]:
        """Everything that is recorded after a sequence by now, with what was said, and how many are read beyond it."""
        while True:
            rows = await self._desk.timelines.records(namespace, operation_id, after=after, limit=PAGE)
            some = _fitting(rows, WATCHED_MAX_BYTES)
            said = await self._desk.said(namespace, operation_id, [row.sequence for row in some])
            for index, row in enumerate(some, 1):
                yield row, said, len(rows) - index
            if len(some) == len(rows) < PAGE:
                return
            after = some[-1].sequence

    async def _history(self, namespace: str, operation_id: str, until: int) -> Operation | None:
        """The state after the events that a resuming watcher has seen."""
        operation: Operation | None = None
        after = 0
        while after < until:
            rows = await self._desk.timelines.records(
                namespace, operation_id, after=after, before=until + 1, limit=PAGE
            )
            for row in rows:
                event = codec.decode(row.record)
                operation = apply(operation, event) if event is not None else operation
            if len(rows) < PAGE:
                break
            after = rows[-1].sequence
        return operation

    @contextmanager
    def _following(self, who: Principal, namespace: str, operation_id: str) -> Iterator[Follower]:
        with self._streams.one_more(who), self._desk.timelines.follow(namespace, operation_id) as follower:
            self._behind[follower] = 0
            try:
                yield follower
            finally:
                del self._behind[follower]


class _Story:
    """The state of an operation along its events, as its watcher has been told them."""

    def __init__(self, operation: Operation | None) -> None:
        self._operation = operation
        self.cast = _cast(operation) if operation is not None else {}

    def hear(self, row: Recorded) -> None:
        event = codec.decode(row.record)
        if event is not None:
            self._operation = apply(self._operation, event)
        if not self.cast and self._operation is not None:
            self.cast = _cast(self._operation)

    @property
    def is_final(self) -> bool:
        return self._operation is not None and self._operation.is_final

    @property
    def state(self) -> operation_pb2.OperationState.ValueType:
        if self._operation is None:
            return operation_pb2.OPERATION_STATE_UNSPECIFIED
        return convert.operation_state(self._operation.state.value)


def _cast(operation: Operation) -> dict[int, ItemDefinition]:
    return {item.instance: item.definition for item in operation.items}


def _fitting(rows: list[Recorded], room: int) -> list[Recorded]:
    """As many of the rows as there is room for with what was said in them; at least one, if there are any."""
    for index, row in enumerate(rows):
        room -= len(row.record) + sum(said["size"] for said in json.loads(row.record)["payloads"].values())
        if room < 0:
            return rows[: max(index, 1)]
    return rows
