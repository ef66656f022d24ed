"""`TimelineService`: watch, read, export.

A watcher registers, then reads from the store, then waits to be told and reads on: no gap, no repetition, and a slow
one costs nobody memory.
"""

from __future__ import annotations

from collections import Counter
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
from hmsactd.errors import InvalidArgument, ResourceExhausted, Unavailable, Violation
from hmsactd.rpc import convert, cursor
from hmsactd.rpc.caller import caller
from hmsactd.rpc.desk import Desk, namespace_of
from hmsactd.rpc.patience import Patience
from hmsactd.rpc.times import timestamp
from hmsactd.timeline import codec
from hmsactd.timeline.follow import Follower
from hmsactd.timeline.timeline import Recorded

Context = aio.ServicerContext[Any, Any]

PAGE = 10
"""Events read at a time: with the largest payloads they come to 2.5 MiB, and most operations have not many more."""

EARLIER_SIZES_MAX = 16

PAGE_MAX_BYTES = 1024 * 1024
"""A page of a list ends once it holds this much: with what is read at a time beyond it, a message has room for it."""


class TimelineServicer(timeline_pb2_grpc.TimelineServiceServicer):
    """Shows what has happened."""

    def __init__(self, desk: Desk, patience: Patience) -> None:
        self._desk = desk
        self._patience = patience
        self._streams: Counter[str] = Counter()
        self._behind: dict[Follower, int] = {}

    @property
    def stream_count(self) -> int:
        """How many streams are open."""
        return self._streams.total()

    @property
    def lag_max(self) -> int:
        """How many events the slowest stream has read and not sent yet, at least."""
        return max(self._behind.values(), default=0)

    async def WatchOperation(
        self, request: pb.WatchOperationRequest, context: Context
    ) -> AsyncIterator[pb.WatchOperationResponse]:
        namespace = namespace_of(self._desk, request)
        operation_id = await self._desk.known(namespace, request.operation_id)
        query = ("watch", namespace, operation_id)
        position = cursor.decode("after", request.after, query, (int,))
        sent = int(position[0]) if position else 0
        with self._stream(caller(), namespace, operation_id) as follower:
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

    async def ListEvents(self, request: pb.ListEventsRequest, context: Context) -> pb.ListEventsResponse:
        namespace = namespace_of(self._desk, request)
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
        page, said = await self._fitting(namespace, operation_id, rows[:size])
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

    async def ExportOperation(
        self, request: pb.ExportOperationRequest, context: Context
    ) -> AsyncIterator[pb.ExportOperationResponse]:
        namespace = namespace_of(self._desk, request)
        operation_id = await self._desk.known(namespace, request.operation_id)
        parts = self._desk.timelines.export(
            namespace,
            operation_id,
            self._desk.clock.now(),
            reveal=self._desk.may_read_payloads,
            earlier=self._sizes(request),
        )
        async for part in parts:
            yield pb.ExportOperationResponse(part=part)

    def _sizes(self, request: pb.ExportOperationRequest) -> list[int]:
        """The earlier sizes that an export is to be joined to."""
        faults = [
            Violation(
                f"earlier_sizes[{index}]", f"is not a size that the log has had, 1 to {self._desk.timelines.size}"
            )
            for index, size in enumerate(request.earlier_sizes)
            if not 1 <= size <= self._desk.timelines.size
        ]
        if len(request.earlier_sizes) > EARLIER_SIZES_MAX:
            faults.append(Violation("earlier_sizes", f"are more than {EARLIER_SIZES_MAX}", "TOO_MANY"))
        if faults:
            raise InvalidArgument(faults)
        return list(request.earlier_sizes)

    async def _fitting(
        self, namespace: str, operation_id: str, rows: list[Recorded]
    ) -> tuple[list[Recorded], convert.Payloads]:
        """As many of the rows, with what was said in them, as a message has room for; at least one page of a watch."""
        said: dict[tuple[int, str], bytes] = {}
        room = PAGE_MAX_BYTES
        for start in range(0, len(rows), PAGE):
            some = rows[start : start + PAGE]
            if room <= 0:
                return rows[:start], said
            found = await self._desk.said(namespace, operation_id, [row.sequence for row in some])
            said |= found
            room -= sum(map(len, found.values())) + sum(len(row.record) for row in some)
        return rows, said

    # -- reading -------------------------------------------------------------------------------------------------------

    async def _rows(
        self, namespace: str, operation_id: str, after: int
    ) -> AsyncIterator[tuple[Recorded, convert.Payloads, int]]:
        """Everything that is recorded after a sequence by now, with what was said, and how many are read beyond it."""
        while True:
            rows = await self._desk.timelines.records(namespace, operation_id, after=after, limit=PAGE)
            said = await self._desk.said(namespace, operation_id, [row.sequence for row in rows])
            for index, row in enumerate(rows, 1):
                yield row, said, len(rows) - index
            if len(rows) < PAGE:
                return
            after = rows[-1].sequence

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
    def _stream(self, who: Principal, namespace: str, operation_id: str) -> Iterator[Follower]:
        """Follow an operation; count the streams of a principal."""
        most = self._desk.bounds.streams_per_principal_max
        if self._streams[who.id] >= most:
            raise ResourceExhausted("STREAMS_MAX", f"{who.id} has {most} streams open, and that is the bound")
        self._streams[who.id] += 1
        try:
            with self._desk.timelines.follow(namespace, operation_id) as follower:
                try:
                    yield follower
                finally:
                    self._behind.pop(follower, None)
        finally:
            self._streams[who.id] -= 1
            if not self._streams[who.id]:
                del self._streams[who.id]


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
