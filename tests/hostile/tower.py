"""The daemon in this process, on virtual time, without faults: raw bytes go in, as on the wire, a code comes out."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Coroutine
from contextlib import aclosing, asynccontextmanager
from typing import Any, NoReturn, TypeVar

import grpc
from grpc.aio import AbortError

from hmsactd.settings.settings import Settings
from tests.hostile.door import Answer, Said
from tests.sim.chance import Chance
from tests.sim.clock import SimulatedClock
from tests.sim.disk import Disk
from tests.sim.hearing import heard, of_loop
from tests.sim.loop import Loop
from tests.sim.plan import Plan
from tests.sim.tower import Tower
from tests.sim.wire import Wire

T = TypeVar("T")

WITHIN_S = 5
"""Virtual seconds after which whoever asked hangs up: a stream may go on for ever."""

MESSAGE_MAX_BYTES = 4 * 1024 * 1024


class _Context:
    """What a servicer knows of a call."""

    def __init__(self, token: str, read: Callable[[], Any], write: Callable[[Any], None]) -> None:
        self._token = token
        self._read = read
        self._write = write
        self.ended: tuple[grpc.StatusCode, str, Any] | None = None

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return (("authorization", f"Bearer {self._token}"),) if self._token else ()

    def time_remaining(self) -> float | None:
        return None

    def code(self) -> grpc.StatusCode | None:
        return self.ended[0] if self.ended is not None else None

    async def abort(self, code: grpc.StatusCode, details: str = "", trailing_metadata: Any = ()) -> NoReturn:
        self.ended = code, details, trailing_metadata
        raise AbortError

    async def read(self) -> Any:
        return self._read()

    async def write(self, message: Any) -> None:
        self._write(message)
        # Somebody who waits for nothing else would never let go.
        await asyncio.sleep(0)


class TowerDoor:
    """Where requests come in."""

    def __init__(self, tower: Tower, handlers: dict[str, Any]) -> None:
        self.tower = tower
        self._handlers = handlers

    async def ask(self, path: str, said: Said, token: str = "", heard: Callable[[bytes], Any] | None = None) -> Answer:
        """Call an RPC; `said` are its requests, one unless it takes a stream."""
        handler = self._handlers[path]
        messages: list[bytes] = []

        def write(message: Any) -> None:
            # What can't be written, or has no room in a message, ends a call with an error of gRPC's own.
            messages.append(handler.response_serializer(message))
            assert len(messages[-1]) <= MESSAGE_MAX_BYTES, f"{path} answers more than a message holds"
            if heard is not None:
                heard(messages[-1])

        # A call with one request has it from its context, one with a stream from that.
        first = b"" if isinstance(said, AsyncIterable) else next(iter(said), b"")
        context = _Context(token, lambda: handler.request_deserializer(first), write)
        try:
            async with asyncio.timeout(WITHIN_S):
                await self._serve(handler, said, context, write)
        except TimeoutError:
            return Answer("", "", messages)
        except AbortError:
            assert context.ended is not None
            code, sentence, trailers = context.ended
            return Answer(code.name, sentence, messages, tuple(trailers))
        except Exception as raised:  # noqa: BLE001 -- as gRPC has it, which sends the text to the caller
            return Answer("UNKNOWN", f"Unexpected {type(raised)}: {raised}", messages)
        return Answer("OK", "", messages)

    async def _serve(self, handler: Any, said: Said, context: Any, write: Callable[[Any], None]) -> None:
        async with aclosing(_requests(said, handler.request_deserializer)) as requests:
            if handler.response_streaming:
                await handler.stream_stream(requests, context)
            else:
                write(await handler.stream_unary(requests, context))


async def _requests(said: Said, read: Callable[[bytes], Any]) -> AsyncGenerator[Any]:
    if isinstance(said, AsyncIterable):
        async for raw in said:
            yield read(raw)
    else:
        for raw in said:
            yield read(raw)


@asynccontextmanager
async def _tower(seed: int) -> AsyncIterator[TowerDoor]:
    chance = Chance(seed)
    plan = Plan(seed)
    disk = Disk(plan, chance.of("disk"), lambda: None)
    wire = Wire(plan)
    settings = Settings(dev=True, engine={"idle": "1s"}, defaults={"unattended": "3650d"})
    tower = Tower(disk, wire, SimulatedClock(chance.of("clock")), settings, bytes(range(32)))
    assert await tower.start()
    assert wire.handlers is not None
    yield TowerDoor(tower, wire.handlers)
    assert not tower.faults, tower.faults
    await tower.stop()
    await tower.buried()


def within_tower(seed: int, do: Callable[[TowerDoor], Coroutine[Any, Any, T]]) -> T:
    """Do something with a daemon; nothing that it logs as an error, or asyncio complains of, goes unheard."""
    noted: list[str] = []
    loop = Loop(Chance(seed).of("order"), 0)
    loop.set_exception_handler(of_loop(noted.append))

    async def live() -> T:
        async with _tower(seed) as door:
            return await do(door)

    with heard(noted.append, None):
        asyncio.set_event_loop(loop)
        try:
            result = loop.run_until_complete(live())
            gc.collect()
        finally:
            asyncio.set_event_loop(None)
            loop.close()
    assert not noted, "\n".join(noted[:5])
    return result
