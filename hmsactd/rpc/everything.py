"""WatchEvents: the whole log, as the followers of a namespace see it.

A follower registers, then reads on from where it stands, then waits to be told. It holds one frame at a time, which it
shares with others, so that a slow one costs a frame; and it reads from the store as far back as it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from google.protobuf.timestamp_pb2 import Timestamp
from hmsact.v1 import timeline_pb2 as pb

from hmsactd.core.principal import Principal
from hmsactd.errors import InvalidArgument, Unavailable, Violation
from hmsactd.rpc.bookmark import SHAPE, Bookmarks
from hmsactd.rpc.caller import caller
from hmsactd.rpc.chosen import chosen
from hmsactd.rpc.cursor import check as check_cursor
from hmsactd.rpc.desk import Checked, Desk, check
from hmsactd.rpc.frames import Frames, View
from hmsactd.rpc.patience import Patience
from hmsactd.rpc.streams import Streams
from hmsactd.rpc.times import timestamp
from hmsactd.timeline.follow import Follower
from hmsactd.timeline.timeline import Timelines

MESSAGES_PER_SECOND_MAX = 1_000
"""What all followers of the log are sent at most. A message costs the loop about a tenth of a millisecond, whatever
is in it: without a bound two hundred followers would take the daemon's whole time."""

REST_MAX_S = 1.0
"""How long the slowest pace lets a follower wait: with more than a thousand of them the bound above gives way."""

SECONDS_MAX = 253_402_300_799
"""The last second of the year 9999, after which there are no timestamps."""

Roots = Sequence[bytes]
"""Hashes of inner nodes of the log's tree."""


class Everything:
    """The streams over all operations."""

    def __init__(self, desk: Desk, patience: Patience, streams: Streams) -> None:
        self._desk = desk
        self._patience = patience
        self._streams = streams
        self._frames = Frames(desk.timelines, desk.clock)
        self._places: dict[Follower, int] = {}

    @property
    def stream_count(self) -> int:
        """How many follow the whole log."""
        return len(self._places)

    @property
    def lag_max(self) -> int:
        """How many records of the log the slowest has yet to be sent."""
        size = self._desk.timelines.size
        return max((size - position for position in self._places.values()), default=0)

    async def watch(self, request: pb.WatchEventsRequest) -> AsyncIterator[bytes]:
        """Serves one follower, with responses that are written out already."""
        asked = _asked(self._desk, request)
        timelines = self._desk.timelines
        with self._following(caller()) as follower:
            position = await self._start(request, asked.bookmarks)
            until = timelines.size if request.no_follow else None
            self._places[follower] = position
            cursor = await asked.bookmarks.now(position, timelines)
            sealed_size = 0
            if request.with_proof:
                seal = await timelines.seal_within(position - 1, position)
                sealed_size = position if seal is not None else 0
                frontier = await timelines.frontier(position)
                yield self._between(position, cursor, frontier=frontier, seal=seal[1] if seal is not None else "")
            else:
                yield self._between(position, cursor)
            # A proof that joins the seal to an earlier one goes with the first seal that has room for both.
            join = _Join(request.earlier_size, timelines)
            if (proof := await join.to(sealed_size)) is not None:
                yield self._between(position, cursor, consistency=proof)
            while True:
                while position < timelines.size and (until is None or position < until):
                    self._go_on(cursor)
                    frame = await self._frames.at(asked.view, asked.bookmarks, position)
                    yield frame.message
                    position, cursor = frame.end, frame.cursor
                    self._places[follower] = position
                    await self._rest()
                    if (proof := await join.to(frame.sealed_size)) is not None:
                        yield self._between(position, cursor, consistency=proof)
                if until is not None and position >= until:
                    return
                self._go_on(cursor)
                if not await self._patience.news(follower, self._desk.settings.streams.heartbeat.seconds):
                    yield self._between(position, cursor)

    async def _rest(self) -> None:
        """All followers together are sent so many messages a second: the more there are, the more is in each.

        The first after a silence goes out at once; only the next waits, and holds what has been recorded by then.
        """
        await asyncio.sleep(min(len(self._places) / MESSAGES_PER_SECOND_MAX, REST_MAX_S))

    def _go_on(self, cursor: str) -> None:
        if self._patience.is_stopping:
            raise Unavailable(
                "SHUTTING_DOWN", "the daemon is shutting down; resume from the last cursor", metadata={"cursor": cursor}
            )

    def _between(
        self, position: int, cursor: str, *, frontier: Roots = (), seal: str = "", consistency: Roots = ()
    ) -> bytes:
        """A message without a stretch: where the stream stands, and that it lives."""
        return pb.WatchEventsResponse(
            from_position=position,
            to_position=position,
            cursor=cursor,
            size=self._desk.timelines.size,
            time=timestamp(self._desk.clock.now()),
            seal=seal,
            frontier=frontier,
            consistency=consistency,
        ).SerializeToString()

    async def _start(self, request: pb.WatchEventsRequest, bookmarks: Bookmarks) -> int:
        """Where the stream begins."""
        match request.WhichOneof("start"):
            case "after":
                return await bookmarks.position("after", request.after, self._desk.timelines)
            case "from_beginning" if request.from_beginning:
                return 0
            case "since":
                return await self._desk.timelines.position_at(request.since.ToMicroseconds())
            case _:
                return self._desk.timelines.size

    @contextmanager
    def _following(self, who: Principal) -> Iterator[Follower]:
        with self._streams.one_more(who), self._desk.timelines.follow_log() as follower:
            self._places[follower] = self._desk.timelines.size
            try:
                yield follower
            finally:
                del self._places[follower]


@dataclass(slots=True)
class _Join:
    """The proof that is still owed, from an earlier size; 0 when none is."""

    size: int
    timelines: Timelines

    async def to(self, sealed_size: int) -> list[bytes] | None:
        """The proof that a seal is joined by, if it is the one that was awaited."""
        if not self.size or sealed_size < self.size:
            return None
        size, self.size = self.size, 0
        return await self.timelines.consistency(size, sealed_size)


@dataclass(frozen=True, slots=True)
class _Asked:
    view: View
    bookmarks: Bookmarks


def _asked(desk: Desk, request: pb.WatchEventsRequest) -> _Asked:
    """What a request asks for; raises InvalidArgument with every fault that it has."""
    checked = check(desk, request)
    choice = chosen(checked, request.filter)
    checked.gather(lambda: check_cursor("after", request.after, SHAPE))
    if request.HasField("since"):
        checked.gather(lambda: _check_time(request.since))
    _check_earlier(checked, request, desk.timelines.size)
    checked.done()
    reveals = request.with_payloads and desk.may_read_payloads
    view = View(checked.namespace, choice, reveals, request.with_records, request.with_proof)
    return _Asked(view, Bookmarks(desk.timelines.origin, checked.namespace, choice))


def _check_time(since: Timestamp) -> None:
    if not 0 <= since.seconds <= SECONDS_MAX or not 0 <= since.nanos < 1_000_000_000:
        raise InvalidArgument([Violation("since", "is not a time since 1970", "BAD_TIME")])


def _check_earlier(checked: Checked, request: pb.WatchEventsRequest, size: int) -> None:
    if not request.earlier_size:
        return
    if not 1 <= request.earlier_size <= size:
        checked.fault("earlier_size", f"is not a size that the log has had, 1 to {size}", "OUT_OF_RANGE")
    if not request.with_proof:
        checked.fault("earlier_size", "is for streams with a proof: ask for one", "WITHOUT_PROOF")
