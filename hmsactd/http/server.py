"""uvicorn as a guest: in the caller's task group, on the caller's socket, with no say in signals."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import anyio
import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from hmsactd import logs
from hmsactd.errors import StartRefused
from hmsactd.machine.certificates import LOOKED_AT_EVERY_S, Files, Unusable, WatchedFiles
from hmsactd.settings.values import Address, Span

BACKLOG = 128
"""Connections not accepted yet: scrapers and probes are few."""

KEEP_ALIVE_S = 75
"""How long an idle connection is kept: longer than scrapers pause, so that each keeps its one connection."""

HEADERS_WITHIN_S = 10
"""How long the headers of a request may take: else whoever sends them byte by byte would keep a connection for ever."""

log = logs.logger(__name__)


def bind(address: Address) -> socket.socket:
    """A socket that listens there; raises StartRefused if another process does, or if the host isn't ours."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    # Not SO_REUSEPORT: a second daemon must be refused, and not share the port.
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((address.host, address.port))
        bound.listen(BACKLOG)
    except OSError as error:
        bound.close()
        raise StartRefused(f"HTTP can't listen on {address}: {error.strerror or error}") from error
    return bound


def address_of(bound: socket.socket) -> Address:
    """Where a socket listens, with the port that it got."""
    host, port, *_ = bound.getsockname()
    return Address(host, port)


class HttpServer:
    """Serves an application until it is stopped."""

    def __init__(self, app: ASGIApp, grace: Span, files: Files | None = None) -> None:
        self._has_ended = anyio.Event()
        try:
            self._files = WatchedFiles(files) if files is not None else None
        except Unusable as error:
            raise StartRefused(f"the TLS of HTTP can't be used: {error}") from error
        self._server = _Guest(
            uvicorn.Config(
                app,
                loop="none",
                http=_Impatient,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                backlog=BACKLOG,
                timeout_keep_alive=KEEP_ALIVE_S,
                timeout_graceful_shutdown=max(1, round(grace.seconds)),
                ssl_certfile=files.certificate if files is not None else None,
                ssl_keyfile=files.key if files is not None else None,
            )
        )

    async def renew(self, files: Files) -> None:
        """Shows another certificate as soon as the files hold one, for ever."""
        assert self._files is not None
        while True:
            await anyio.sleep(LOOKED_AT_EVERY_S)
            try:
                context = self._server.config.ssl
                if self._files.changed() is not None and context is not None:
                    context.load_cert_chain(files.certificate, files.key)
                    log.info("the certificate was read again", file=str(files.certificate))
            except (Unusable, OSError) as error:
                log.error("the certificate can't be read again: the one read before stays", error=str(error))

    async def serve(self, bound: socket.socket) -> None:
        """Serves on the socket, and closes it, until `stop`."""
        try:
            await self._server.serve(sockets=[bound])
        finally:
            self._has_ended.set()

    def stop(self) -> None:
        """Takes no more connections; `serve` returns when those that are open have got their answers."""
        self._server.should_exit = True

    async def ended(self) -> None:
        """Returns when `serve` has."""
        await self._has_ended.wait()


class _Impatient(H11Protocol):
    """uvicorn's protocol, which would wait for ever for the rest of a request's headers."""

    _headers_are_late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        super().connection_made(transport)
        self._wait_for_headers()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.their_state is h11.IDLE and self.conn.trailing_data[0]:
            self._wait_for_headers()
        elif self._headers_are_late is not None:
            self._headers_are_late.cancel()
            self._headers_are_late = None

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        if self._headers_are_late is not None:
            self._headers_are_late.cancel()

    def _wait_for_headers(self) -> None:
        if self._headers_are_late is None:
            self._headers_are_late = self.loop.call_later(HEADERS_WITHIN_S, self.transport.close)


class _Guest(uvicorn.Server):
    """uvicorn without hands on the signals, which are the daemon's."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
