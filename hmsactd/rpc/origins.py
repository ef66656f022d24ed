"""What the operations are that pass by in the log: their definition, their start, their steps.

A record names its operation and no more. What was learnt from its first record is remembered for a while.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

from hmsactd.core.events import OperationStarted
from hmsactd.rpc.convert import Cast
from hmsactd.store.store import LogRow
from hmsactd.timeline import codec, moment
from hmsactd.timeline.timeline import Timelines

ORIGINS_MAX = 16_384
"""Operations that are remembered: a few MiB. Of any other the first record is read again."""

CASTS_MAX = 256
"""Flows whose steps are remembered; operations of one definition share them."""


@dataclass(frozen=True, slots=True)
class Origin:
    """What an operation is from its start on."""

    definition: str
    started_at: int
    cast: Cast


class Origins:
    """The operations that were met last."""

    def __init__(self, timelines: Timelines) -> None:
        self._timelines = timelines
        self._known: OrderedDict[tuple[str, str], Origin] = OrderedDict()
        self._casts: OrderedDict[tuple[str, str], Cast] = OrderedDict()

    async def of(self, row: LogRow, told: dict[str, Any]) -> Origin:
        """The origin of the operation that a record belongs to."""
        place = (row.namespace, row.operation)
        known = self._known.get(place)
        if known is None:
            known = self._read(row.record, told) if row.sequence == 1 else await self._fetched(*place)
            self._known[place] = known
            if len(self._known) > ORIGINS_MAX:
                self._known.popitem(last=False)
        else:
            self._known.move_to_end(place)
        return known

    async def _fetched(self, namespace: str, operation: str) -> Origin:
        first = await self._timelines.records(namespace, operation, limit=1)
        return self._read(first[0].record, json.loads(first[0].record))

    def _read(self, record: bytes, told: dict[str, Any]) -> Origin:
        data = told["data"]
        flow = (data["definition"], data["digest"])
        cast = self._casts.get(flow)
        if cast is None:
            cast = self._casts[flow] = _cast(record)
            if len(self._casts) > CASTS_MAX:
                self._casts.popitem(last=False)
        return Origin(data["definition"], moment.read(told["at"]), cast)


def _cast(record: bytes) -> Cast:
    event = codec.decode(record)
    assert isinstance(event, OperationStarted), "a timeline begins with a start"
    return dict(enumerate(event.flow.items, 1))
