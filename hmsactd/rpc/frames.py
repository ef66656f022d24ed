"""What followers of the whole log are sent: one stretch of the log a frame.

Followers with the same view of the log get the same frames, made once, and written out once: a thousand of them
cost a thousand writes, not a thousand readings. Bounded in bytes; who is further back makes frames of its own.
"""

from __future__ import annotations

import asyncio
import json
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hmsact.v1 import timeline_pb2 as pb

from hmsactd.clock import Clock
from hmsactd.rpc import convert
from hmsactd.rpc.bookmark import Bookmarks
from hmsactd.rpc.chosen import Chosen
from hmsactd.rpc.origins import Origins
from hmsactd.rpc.times import timestamp
from hmsactd.store.store import LogRow
from hmsactd.timeline.timeline import Timelines

ROWS_MAX = 1_024
"""Records looked at a frame: one short read of the store."""

ROWS_AT_A_TIME = 64
"""Records after which others have their turn: a few milliseconds of the loop."""

FRAME_MAX_BYTES = 256 * 1024
"""Records of a frame, and again as much for what was said in them; a larger event is alone in its frame. It waits for
who does not read, with a copy in gRPC: of a quarter of a MiB each, the two come to one."""

HISTORY_REST_MAX_S = 0.5
"""The longest rest between two frames of history, so that who catches up goes on even when the store is slow."""

KEPT_MAX_BYTES = 8 * 1024 * 1024
"""Frames that are kept for whoever comes next, all views together."""


@dataclass(frozen=True, slots=True)
class View:
    """How a follower sees the log."""

    namespace: str
    chosen: Chosen
    reveals: bool
    with_records: bool
    with_proof: bool


@dataclass(frozen=True, slots=True)
class Frame:
    """A stretch of the log, ready to be sent."""

    end: int
    sealed_size: int
    cursor: str
    message: bytes


Key = tuple[View, int, int]


class Frames:
    """Makes frames, each once for all who stand at the same place."""

    def __init__(self, timelines: Timelines, clock: Clock, kept_max_bytes: int = KEPT_MAX_BYTES) -> None:
        self._timelines = timelines
        self._clock = clock
        self._origins = Origins(timelines)
        self._kept_max_bytes = kept_max_bytes
        self._kept: OrderedDict[Key, Frame] = OrderedDict()
        self._kept_bytes = 0
        self._making: dict[Key, asyncio.Event] = {}
        self._history = asyncio.Lock()

    async def at(self, view: View, bookmarks: Bookmarks, position: int) -> Frame:
        """The frame that begins at a position, which must lie within the log."""
        # What was erased since a frame was made must not be read from it.
        key = (view, self._timelines.erasures if view.reveals else 0, position)
        while (frame := self._kept.get(key)) is None:
            made = self._making.get(key)
            if made is None:
                return await self._made(key, bookmarks)
            # Whoever makes it may fail or leave: then the next one tries.
            await made.wait()
        return frame

    async def _made(self, key: Key, bookmarks: Bookmarks) -> Frame:
        made = self._making[key] = asyncio.Event()
        try:
            view, _, position = key
            if self._timelines.size - position > ROWS_MAX:
                frame = await self._made_of_history(view, bookmarks, position)
            else:
                frame = await self._make(view, bookmarks, position)
            self._keep(key, frame)
            return frame
        finally:
            del self._making[key]
            made.set()

    async def _made_of_history(self, view: View, bookmarks: Bookmarks, position: int) -> Frame:
        """For who is far behind: one frame at a time, and as long a rest after it, so that they all together leave
        the loop to others for half of the time, and for more of it when it is busy."""
        async with self._history:
            now = asyncio.get_running_loop().time
            began = now()
            frame = await self._make(view, bookmarks, position)
            await asyncio.sleep(min(now() - began, HISTORY_REST_MAX_S))
            return frame

    def _keep(self, key: Key, frame: Frame) -> None:
        self._kept[key] = frame
        self._kept_bytes += len(frame.message)
        while self._kept_bytes > self._kept_max_bytes:
            self._kept_bytes -= len(self._kept.popitem(last=False)[1].message)

    async def _make(self, view: View, bookmarks: Bookmarks, position: int) -> Frame:
        timelines = self._timelines
        rows = await timelines.log(position, position + ROWS_MAX, FRAME_MAX_BYTES)
        assert rows, "a frame begins within the log"
        matches, rows = await self._matches(view, rows)
        seal = await timelines.seal_within(position, rows[-1].index + 1) if view.with_proof else None
        if seal is not None:
            # Ends at the seal, so that all that was sent until now can be proved by it.
            rows = rows[: seal[0] - position]
        end = rows[-1].index + 1
        matches = [match for match in matches if match[0].index < end]
        said = await self._said(view, matches)
        message = pb.WatchEventsResponse(
            from_position=position,
            to_position=end,
            events=await self._events(view, bookmarks, matches, said),
            cursor=bookmarks.at(end, rows[-1].leaf),
            size=timelines.size,
            time=timestamp(self._clock.now()),
            leaves=b"".join(row.leaf for row in rows) if view.with_proof else b"",
            seal=seal[1] if seal is not None else "",
        )
        return Frame(end, seal[0] if seal else 0, message.cursor, message.SerializeToString())

    async def _matches(
        self, view: View, rows: list[LogRow]
    ) -> tuple[list[tuple[LogRow, dict[str, Any]]], list[LogRow]]:
        """The rows that the view shows, and as many of all as there is room for with what was said."""
        found: list[tuple[LogRow, dict[str, Any]]] = []
        room = FRAME_MAX_BYTES
        for count, row in enumerate(rows):
            if not count % ROWS_AT_A_TIME:
                await asyncio.sleep(0)
            if row.namespace != view.namespace or not view.chosen.may_let_through(row):
                continue
            told = json.loads(row.record)
            if not view.chosen.lets_through(told):
                continue
            definitions = view.chosen.definitions
            if definitions and (await self._origins.of(row, told)).definition not in definitions:
                continue
            if view.reveals:
                room -= sum(said["size"] for said in told["payloads"].values())
                if room < 0 and count:
                    return found, rows[:count]
            found.append((row, told))
        return found, rows

    async def _said(self, view: View, matches: list[tuple[LogRow, dict[str, Any]]]) -> Mapping[str, convert.Payloads]:
        """What was said in the events, by operation."""
        if not view.reveals:
            return {}
        asked: dict[str, list[int]] = {}
        for row, told in matches:
            if told["payloads"]:
                asked.setdefault(row.operation, []).append(row.sequence)
        return {
            operation: await self._timelines.said(view.namespace, operation, sequences)
            for operation, sequences in asked.items()
        }

    async def _events(
        self,
        view: View,
        bookmarks: Bookmarks,
        matches: list[tuple[LogRow, dict[str, Any]]],
        said: Mapping[str, convert.Payloads],
    ) -> list[pb.PlacedEvent]:
        events = []
        for count, (row, told) in enumerate(matches):
            if not count % ROWS_AT_A_TIME:
                await asyncio.sleep(0)
            events.append(await self._placed(view, bookmarks, row, told, said))
        return events

    async def _placed(
        self,
        view: View,
        bookmarks: Bookmarks,
        row: LogRow,
        told: dict[str, Any],
        said: Mapping[str, convert.Payloads],
    ) -> pb.PlacedEvent:
        origin = await self._origins.of(row, told)
        record = row.record if view.with_records or view.with_proof else b""
        cursor = bookmarks.at(row.index + 1, row.leaf)
        return pb.PlacedEvent(
            position=row.index,
            event=convert.told_event(told, said.get(row.operation, {}), origin.cast, cursor, record),
            definition=origin.definition,
            start_time=timestamp(origin.started_at),
        )
