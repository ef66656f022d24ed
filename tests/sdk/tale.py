"""A daemon's log behind a fake daemon: streams that are true, until a test makes them lie."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Future
from typing import Any, TypeVar

import grpc
from hmsact.v1 import system_pb2
from hmsact.v1 import timeline_pb2 as pb

from hmsactd.store.memory import MemoryStore
from hmsactd.timeline.keys import Keys
from tests.rpc.ledger import Ledger, answers, everything_of
from tests.sdk.fake import Context, FakeDaemon, refuse
from tests.timeline.samples import running

T = TypeVar("T")

Messages = list[pb.WatchEventsResponse]
Lie = Callable[[Messages], object]


class Tale:
    """A log in a loop of its own, told by a fake daemon. `lie` changes what is sent; `breaks` cuts connections."""

    def __init__(self, fake: FakeDaemon, keys: Keys) -> None:
        self.lie: Lie = lambda messages: None
        self.breaks: Iterator[int] = iter(())
        self._keys = keys
        self._loop = asyncio.new_event_loop()
        self._over: asyncio.Event
        self._ready: Future[None] = Future()
        self._thread = threading.Thread(target=lambda: self._loop.run_until_complete(self._live()), name="tale")
        self._thread.start()
        self._ready.result(20)
        fake.on("WatchEvents", self._tell)
        fake.on("GetSystemInfo", lambda request, context: self._info())

    async def _live(self) -> None:
        self._over = asyncio.Event()
        store = MemoryStore()
        async with running(store, self._keys) as timelines:
            self.ledger = Ledger(store, timelines)
            self.everything = everything_of(store, timelines)
            self._ready.set_result(None)
            await self._over.wait()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()
        self._loop.close()

    def do(self, what: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(what, self._loop).result(20)

    def grow(self, appends: int) -> None:
        self.do(self.ledger.grow(appends))

    @property
    def size(self) -> int:
        return self.ledger.timelines.size

    def seal(self) -> str:
        """The newest seal there is."""
        found = self.do(self.ledger.store.last_seal())
        assert found is not None
        return found

    def expected(self, namespace: str) -> list[int]:
        return self.do(self.ledger.expected(pb.WatchEventsRequest(namespace=namespace)))

    def _info(self) -> system_pb2.GetSystemInfoResponse:
        timelines = self.ledger.timelines
        return system_pb2.GetSystemInfoResponse(log=timelines.origin, verifier_key=timelines.verifier_key)

    def _tell(self, request: pb.WatchEventsRequest, context: Context) -> Iterator[pb.WatchEventsResponse]:
        messages = self.do(answers(self.everything, request))
        self.lie(messages)
        enough = next(self.breaks, None)
        for number, message in enumerate(messages):
            if number == enough:
                refuse(context, grpc.StatusCode.UNAVAILABLE, "the connection is cut", "CUT")
            yield message
