"""Stands between a worker and the daemon: passes on what each says, notes it, and lets a meddling decide its course."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import anyio
import grpc
from grpc import aio
from hmsact.v1 import worker_pb2 as pb
from hmsact.v1 import worker_pb2_grpc

from hmsactd.conformance.meddling import Course, Meddling
from hmsactd.conformance.transcript import Ended, Transcript
from hmsactd.conformance.unmet import Unmet
from hmsactd.errors import StartRefused

MESSAGE_MAX_BYTES = 64 * 1024 * 1024
"""The daemon's own bound is lower, and it is the daemon that refuses what is beyond it."""

Context = aio.ServicerContext[Any, Any]
Upstream = aio.StreamStreamCall[pb.WorkRequest, pb.WorkResponse]


class Relay(worker_pb2_grpc.WorkerServiceServicer):
    """A server that a worker takes for the daemon. It may go down and come up again on the same port."""

    def __init__(self, transcript: Transcript) -> None:
        self.meddling = Meddling()
        self._transcript = transcript
        self._connections = 0
        self._server: aio.Server | None = None
        self._channel: aio.Channel | None = None
        self._open: set[_Connection] = set()

    async def up(self, listen: str) -> str:
        """Listen; returns the address with the port it got. Raises StartRefused if it is taken."""
        server = aio.server(options=[("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", MESSAGE_MAX_BYTES)])
        worker_pb2_grpc.add_WorkerServiceServicer_to_server(self, server)
        try:
            port = server.add_insecure_port(listen)
        except RuntimeError as error:
            raise StartRefused(f"the conformance check can't listen on {listen}: {error}") from error
        await server.start()
        self._server = server
        return f"{listen.rpartition(':')[0]}:{port}"

    async def down(self) -> None:
        """Go away without a word, as a machine does that loses its power."""
        server, self._server = self._server, None
        if server is not None:
            await server.stop(None)

    async def reach(self, address: str | None) -> None:
        """From now on the daemon is there; None: nowhere."""
        channel, self._channel = self._channel, None
        if channel is not None:
            await channel.close()
        if address is not None:
            options = [("grpc.max_receive_message_length", MESSAGE_MAX_BYTES), ("grpc.use_local_subchannel_pool", 1)]
            self._channel = aio.insecure_channel(address, options)

    def cut(self) -> None:
        """End every connection that is open."""
        for connection in self._open:
            connection.end("UNAVAILABLE", "the connection was cut")

    # A coroutine that writes, and not a generator: a task group must end in the task that began it.
    async def Work(self, request_iterator: Any, context: Context) -> None:  # type: ignore[override] # noqa: N802
        """The stream of one worker."""
        self._connections += 1
        connection = _Connection(self._connections, self, context, self._transcript)
        daemon = await self._daemon(context)
        upstream = daemon.Work(metadata=_authorization(context))
        self._open.add(connection)
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(connection.forward, request_iterator, upstream, name="what the worker says")
                tasks.start_soon(connection.backward, upstream, name="what the daemon says")
                await connection.over.wait()
                tasks.cancel_scope.cancel()
        finally:
            self._open.discard(connection)
            upstream.cancel()
            self._transcript.note(connection.number, connection.ended)
        if connection.ended.code:
            await context.abort(
                grpc.StatusCode[connection.ended.code], connection.ended.sentence, connection.trailing_metadata
            )

    async def CompleteStep(self, request: pb.CompleteStepRequest, context: Context) -> pb.CompleteStepResponse:  # noqa: N802
        """Passed on as it is, and so is the answer."""
        daemon = await self._daemon(context)
        try:
            return await daemon.CompleteStep(request, metadata=_authorization(context))
        except aio.AioRpcError as error:
            await context.abort(error.code(), error.details() or "", tuple(error.trailing_metadata() or ()))

    async def _daemon(self, context: Context) -> worker_pb2_grpc.WorkerServiceAsyncStub:
        if self._channel is None:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the daemon is not there")
        return worker_pb2_grpc.WorkerServiceStub(self._channel)


def _authorization(context: Context) -> list[tuple[str, str | bytes]]:
    return [(key, value) for key, value in context.invocation_metadata() or () if key == "authorization"]


class _Connection:
    """One stream of a worker, and the stream to the daemon that goes with it."""

    def __init__(self, number: int, relay: Relay, context: Context, transcript: Transcript) -> None:
        self.number = number
        self.over = asyncio.Event()
        self.ended = Ended()
        self.trailing_metadata: tuple[Any, ...] = ()
        self._relay = relay
        self._context = context
        self._transcript = transcript
        self._writing = anyio.Lock()

    def end(self, code: str = "", sentence: str = "", trailing_metadata: tuple[Any, ...] = ()) -> None:
        """It is over; only the first who says so is heard."""
        if not self.over.is_set():
            self.ended, self.trailing_metadata = Ended(code, sentence), trailing_metadata
            self.over.set()

    async def forward(self, requests: AsyncIterator[pb.WorkRequest], upstream: Upstream) -> None:
        """Pass on what the worker says."""
        try:
            async for request in requests:
                self._transcript.note(self.number, request)
                await self._take(self._relay.meddling.heard(request), upstream)
            await upstream.done_writing()
        except Unmet as flood:
            self.end("RESOURCE_EXHAUSTED", flood.happened)
        except (aio.AioRpcError, asyncio.InvalidStateError):
            # The daemon has ended the stream; whoever reads it learns why.
            return

    async def backward(self, upstream: Upstream) -> None:
        """Pass on what the daemon says."""
        try:
            while isinstance(response := await upstream.read(), pb.WorkResponse):
                self._relay.meddling.learn(response)
                await self._take(self._relay.meddling.told(response), upstream)
            self.end()
        except aio.AioRpcError as error:
            self.end(error.code().name, error.details() or "", tuple(error.trailing_metadata() or ()))

    async def _take(self, course: Course, upstream: Upstream) -> None:
        for request in course.to_daemon:
            await upstream.write(request)
        for response in course.to_worker:
            # What the daemon says and what a meddling says must not be written at once.
            async with self._writing:
                self._transcript.note(self.number, response)
                await self._context.write(response)
        if course.is_cut:
            self.end("UNAVAILABLE", "the connection was cut")
