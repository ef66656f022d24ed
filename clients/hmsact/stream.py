"""Streams over all operations of a namespace: iterators that go on by themselves when the daemon was away."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from types import TracebackType
from typing import Any, Self

import grpc

from hmsact.errors import HmsactError
from hmsact.event import Event
from hmsact.place import Place
from hmsact.status import error_of
from hmsact.system import SystemInfo
from hmsact.v1 import timeline_pb2


class _Progress:
    """What both streams say of themselves."""

    def __init__(self, place: Place) -> None:
        self._place = place

    @property
    def cursor(self) -> str:
        """Resumes after the event that was given out last, or after what was looked through since: keep it to go on
        in another process. Empty until the daemon has answered."""
        return self._place.cursor

    @property
    def size(self) -> int:
        """How many records the log had when the daemon last said so."""
        return self._place.size

    @property
    def lag(self) -> int:
        """How many of them have not been looked at yet."""
        return self._place.lag

    @property
    def proved_size(self) -> int:
        """With prove=True: how many records of the log are proved to be as they were sealed."""
        return self._place.proved_size


class EventStream(_Progress):
    """The events of all operations, to be iterated over. Close it, or use it as a context manager, to end it early."""

    def __init__(
        self,
        place: Place,
        call: Callable[[timeline_pb2.WatchEventsRequest], Any],
        info: Callable[[], SystemInfo],
        address: str,
    ) -> None:
        super().__init__(place)
        self._call = call
        self._info = info
        self._address = address
        self._connection: Any = None
        self._events = self._run()

    def __iter__(self) -> Iterator[Event]:
        return self

    def __next__(self) -> Event:
        return next(self._events)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends the stream; another thread that waits for its next event gets none."""
        connection, self._connection = self._connection, _CLOSED
        if connection is not None and connection is not _CLOSED:
            connection.cancel()

    def _run(self) -> Iterator[Event]:
        place = self._place
        while self._connection is not _CLOSED:
            try:
                if place.needs_key:
                    place.meet(self._info())
                connection = self._call(place.request())
                if self._connection is _CLOSED:
                    connection.cancel()
                    return
                self._connection = connection
                try:
                    for message in connection:
                        place.take(message)
                        while (event := place.next()) is not None:
                            yield event
                except grpc.RpcError as failure:
                    raise error_of(failure, self._address) from None
                finally:
                    connection.cancel()
            except HmsactError as error:
                if self._connection is _CLOSED:
                    return
                time.sleep(place.lost_s(error))
            else:
                place.ended()
                return


class AsyncEventStream(_Progress):
    """The twin of EventStream for coroutines: an asynchronous iterator."""

    def __init__(
        self,
        place: Place,
        call: Callable[[timeline_pb2.WatchEventsRequest], Any],
        info: Callable[[], Awaitable[SystemInfo]],
        address: str,
    ) -> None:
        super().__init__(place)
        self._call = call
        self._info = info
        self._address = address
        self._events = self._run()

    def __aiter__(self) -> AsyncIterator[Event]:
        return self

    async def __anext__(self) -> Event:
        return await anext(self._events)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends the stream."""
        await self._events.aclose()

    async def _run(self) -> AsyncGenerator[Event]:
        place = self._place
        while True:
            try:
                if place.needs_key:
                    place.meet(await self._info())
                connection = self._call(place.request())
                try:
                    async for message in connection:
                        place.take(message)
                        while (event := place.next()) is not None:
                            yield event
                except grpc.RpcError as failure:
                    raise error_of(failure, self._address) from None
                finally:
                    connection.cancel()
            except HmsactError as error:
                delay_s = place.lost_s(error)
            else:
                place.ended()
                return
            await asyncio.sleep(delay_s)


_CLOSED = object()
"""Stands where a connection would, once the reader has had enough."""
