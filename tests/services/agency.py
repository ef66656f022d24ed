"""A real HTTP server that behaves as a test says, well or badly: it is given the socket itself."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Asked:
    """A request as it came."""

    line: str
    headers: dict[str, str]
    body: bytes
    hung_up: Awaitable[object]
    """Until the other side has hung up."""

    @property
    def said(self) -> dict[str, Any]:
        found = json.loads(self.body)
        assert isinstance(found, dict)
        return found


Behaviour = Callable[[Asked, asyncio.StreamWriter], Awaitable[None]]


class Agency:
    """What was asked of it, and how many connections were made."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.connections = 0
        self.behaviour: Behaviour = answers(200, b"{}")
        self.hung_up = asyncio.Event()
        self.port = 0
        self.tasks: set[asyncio.Task[Any]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self.tasks.add(task)
        try:
            while (asked := await _read(reader)) is not None:
                self.asked.append(asked)
                await self.behaviour(asked, writer)
                await writer.drain()
                if writer.is_closing():
                    return
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError, asyncio.CancelledError):
            # Cancelled only when the test is over; whoever runs us would take it for a fault.
            pass
        finally:
            self.hung_up.set()
            self.tasks.discard(task)
            writer.close()


@asynccontextmanager
async def agency(tls: ssl.SSLContext | None = None, port: int = 0) -> AsyncIterator[Agency]:
    """A server on a free port, or where one was before."""
    found = Agency()
    server = await asyncio.start_server(found.serve, "127.0.0.1", port, ssl=tls)
    found.port = server.sockets[0].getsockname()[1]
    try:
        yield found
    finally:
        server.close()
        left = list(found.tasks)
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left)
        await server.wait_closed()


def answers(status: int, body: bytes = b"", kind: str = "application/json", **headers: str) -> Behaviour:
    """A well-formed answer."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    lines = {"Content-Length": str(len(body)), **({"Content-Type": kind} if kind else {}), **named}
    head = f"HTTP/1.1 {status} X\r\n" + "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return says(head.encode() + b"\r\n" + body)


def says(raw: bytes, *, then_closes: bool = False) -> Behaviour:
    """These very bytes."""

    async def behave(_: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(raw)
        if then_closes:
            await writer.drain()
            writer.close()

    return behave


async def hangs(asked: Asked, _: asyncio.StreamWriter) -> None:
    """No answer at all, as long as the other side waits."""
    await asked.hung_up


async def drips(_: Asked, writer: asyncio.StreamWriter) -> None:
    """An answer byte by byte, for ever."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 4000\r\n\r\n")
    while not writer.is_closing():
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.005)


async def floods(_: Asked, writer: asyncio.StreamWriter) -> None:
    """An answer without end."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
    while not writer.is_closing():
        writer.write(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
        await writer.drain()


async def _read(reader: asyncio.StreamReader) -> Asked | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise
        return None
    line, *rest = head.split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (each.partition(":") for each in rest if each)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Asked(line, headers, body, _Eof(reader))


class _Eof:
    """Awaits the end of what the other side sends."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        self._reader = reader

    def __await__(self) -> Generator[Any, None, bytes]:
        return self._reader.read().__await__()
