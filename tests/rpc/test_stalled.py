"""Who stops reading in mid-stream costs the daemon a bounded amount: what is kept for them, gRPC's own copy aside."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, aclosing
from pathlib import Path
from typing import Any, cast

import pytest
from hmsact.v1 import timeline_pb2 as pb

from hmsactd.core import events as e
from hmsactd.core.events import Event
from hmsactd.identity.dev import DEVELOPER
from hmsactd.rpc.caller import called_by
from hmsactd.rpc.patience import Patience
from hmsactd.rpc.streams import Streams
from hmsactd.rpc.timelines import TimelineServicer
from hmsactd.store.sqlite import DATABASE_FILE, SqliteStore
from hmsactd.timeline.keys import fresh_keys
from hmsactd.timeline.payloads import commit
from hmsactd.timeline.timeline import Timelines
from tests.rpc.ledger import desk_of
from tests.timeline.samples import BEGAN, FLOW, JDAVIS, NAMES, PORTAL, running, summary

FOLLOWERS = 16
PER_FOLLOWER_MAX_BYTES = 1024 * 1024
OPERATION = "op_" + "0" * 26
OUTPUT = b'"' + b"x" * 250_000 + b'"'

Asked = Callable[[TimelineServicer], Any]


def an_operation(servicer: TimelineServicer) -> Any:
    return servicer.WatchOperation(pb.WatchOperationRequest(operation_id=OPERATION), cast("Any", None))


def everything(servicer: TimelineServicer) -> Any:
    request = pb.WatchEventsRequest(from_beginning=True, with_payloads=True, with_records=True)
    return servicer.WatchEvents(request, cast("Any", None))


async def write_large_events(timelines: Timelines) -> None:
    timeline = timelines.new("default", OPERATION)
    began: list[Event] = [e.OperationStarted(BEGAN, PORTAL, FLOW, commit(OUTPUT))]
    await timeline.append(began, NAMES, summary(timeline, began))
    for number in range(12):
        said = commit(OUTPUT)
        told: list[Event] = [
            e.OperationResumed(BEGAN, JDAVIS, reason=said)
            if number % 2
            else e.OperationPaused(BEGAN, JDAVIS, "run", reason=said)
        ]
        await timeline.append(told, NAMES, summary(timeline, told))


@pytest.mark.parametrize("asked", [an_operation, everything])
async def test_what_waits_for_a_follower_that_stalls_is_at_most_one_mib(asked: Asked, tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / DATABASE_FILE)
    async with running(store, fresh_keys()) as timelines, AsyncExitStack() as stack:
        await write_large_events(timelines)
        servicer = TimelineServicer(desk_of(store, timelines), Patience(), Streams(100, 100))
        called_by(DEVELOPER)
        sizes, message = [], None
        tracemalloc.start()
        stack.callback(tracemalloc.stop)
        for _ in range(FOLLOWERS):
            stream: AsyncGenerator[Any] = asked(servicer)
            await stack.enter_async_context(aclosing(stream))
            # Two: the first of them all is short. From here on it waits, as in a write that does not come back.
            message = [await anext(stream), await anext(stream)][-1]
            # Also as bytes if it is not bytes alone, and in gRPC. Of messages Python does not know the size.
            copies = 2 if isinstance(message, bytes) else 3
            sizes.append(copies * len(message if isinstance(message, bytes) else message.SerializeToString()))
        del message
        gc.collect()
        traced = tracemalloc.get_traced_memory()[0] / FOLLOWERS
    assert min(sizes) > len(OUTPUT)
    assert traced + max(sizes) < PER_FOLLOWER_MAX_BYTES
