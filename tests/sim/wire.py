"""What lies between callers and the daemon: requests travel, answers get lost, callers hang up, the daemon dies.

Takes the place of gRPC: the handlers are those that a real server would call, interceptor and all, with a context that
does what `grpc.aio` promises of it. Messages are not written out; gRPC's own part is not under test.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, NoReturn

import grpc
from grpc.aio import AbortError

from tests.sim.plan import Plan

WINDOW = 4
"""Messages of a stream that are under way before whoever writes has to wait."""


class RpcError(Exception):
    """Raised to callers: how a call has ended."""

    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        super().__init__(f"{code.name}: {details}")
        self.code = code


def unavailable(why: str) -> RpcError:
    """The error of a call that may or may not have been heard."""
    return RpcError(grpc.StatusCode.UNAVAILABLE, why)


class Context:
    """What a servicer knows of its call."""

    def __init__(self, token: str, request: Any, stream: Stream | None) -> None:
        self._metadata = (("authorization", f"Bearer {token}"),) if token else ()
        self._request = request
        self._stream = stream
        self._code: grpc.StatusCode | None = None
        self.details = ""

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return self._metadata

    def time_remaining(self) -> float | None:
        return None

    def code(self) -> grpc.StatusCode | None:
        return self._code

    async def abort(self, code: grpc.StatusCode, details: str = "", trailing_metadata: Any = ()) -> NoReturn:
        self._code, self.details = code, details
        raise AbortError

    async def read(self) -> Any:
        return self._request

    async def write(self, message: Any) -> None:
        assert self._stream is not None
        await self._stream.deliver(message)


@dataclass(eq=False, slots=True)
class Call:
    """A call in the daemon's hands. `ended` is told how, unless the daemon has died."""

    task: asyncio.Task[Any]
    ended: asyncio.Future[Any]


class Stream:
    """A stream as its caller sees it: send, read on, hang up."""

    def __init__(self) -> None:
        self.call: Call | None = None
        self._sent: deque[Any] = deque()
        self._come: deque[Any] = deque()
        self._is_half_closed = False
        self._news_for_daemon = asyncio.Event()
        self._news_for_caller = asyncio.Event()
        self._room = asyncio.Event()

    # -- the caller's end ----------------------------------------------------------------------------------------------

    def send(self, message: Any) -> None:
        """Say something; whether it is heard shows in the answers."""
        self._sent.append(message)
        self._news_for_daemon.set()

    def close(self) -> None:
        """Say no more."""
        self._is_half_closed = True
        self._news_for_daemon.set()

    async def receive(self) -> Any:
        """The next message; None at the end of the stream. Raises RpcError if it ends otherwise."""
        assert self.call is not None
        while not self._come:
            if self.call.ended.done():
                self.call.ended.result()
                return None
            self._news_for_caller.clear()
            await self._news_for_caller.wait()
        self._room.set()
        return self._come.popleft()

    def hang_up(self) -> None:
        """The connection is gone; the daemon notices."""
        assert self.call is not None
        self.call.task.cancel()

    def look_up(self, _: object) -> None:
        self._news_for_caller.set()

    # -- the daemon's end ----------------------------------------------------------------------------------------------

    async def deliver(self, message: Any) -> None:
        assert self.call is not None
        while len(self._come) >= WINDOW:
            self._room.clear()
            await self._room.wait()
        if not self.call.ended.done():
            self._come.append(message)
            self._news_for_caller.set()

    async def heard(self) -> AsyncIterator[Any]:
        """What the caller says."""
        while True:
            while self._sent:
                yield self._sent.popleft()
            if self._is_half_closed:
                return
            self._news_for_daemon.clear()
            await self._news_for_daemon.wait()


Accept = Callable[[str, Callable[[Context], Any], Context], Call]


class Wire:
    """The way to the daemon, whichever is up. `handlers` are those of it that serves, None while none does."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self.is_calm = False
        self.handlers: dict[str, Any] | None = None
        self.accept: Accept

    async def call(self, chance: random.Random, rpc: str, request: Any, token: str = "", within_s: float = 20) -> Any:
        """One request, one answer. Raises RpcError."""
        await asyncio.sleep(chance.uniform(0.0005, 0.02))
        handler = self._handler(rpc)
        context = Context(token, request, None)
        call = self.accept(rpc, lambda told: handler.stream_unary(None, told), context)
        gives_up_s = within_s
        if not self.is_calm and chance.random() < self._plan.leaves:
            gives_up_s = chance.uniform(0, 0.05)
        try:
            async with asyncio.timeout(gives_up_s):
                answer = await call.ended
        except TimeoutError:
            call.task.cancel()
            raise RpcError(grpc.StatusCode.DEADLINE_EXCEEDED, "the caller has no more patience") from None
        await asyncio.sleep(chance.uniform(0.0005, 0.02))
        if not self.is_calm and chance.random() < self._plan.cuts:
            raise unavailable("the answer was lost")
        return answer

    def stream(self, rpc: str, request: Any = None, token: str = "") -> Stream:
        """Open a stream: with a request, or to say more on."""
        handler = self._handler(rpc)
        stream = Stream()

        def serve(context: Context) -> Any:
            return handler.stream_stream(stream.heard(), context)

        stream.call = self.accept(rpc, serve, Context(token, request, stream))
        stream.call.ended.add_done_callback(stream.look_up)
        return stream

    def _handler(self, rpc: str) -> Any:
        if self.handlers is None:
            raise unavailable("nobody listens")
        return self.handlers[rpc]
