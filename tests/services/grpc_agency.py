"""A real gRPC server that implements StepService as a test says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import grpc
from grpc import aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from hmsact.v1 import step_pb2, step_pb2_grpc

Context = aio.ServicerContext[Any, Any]
Behaviour = Callable[[step_pb2.ExecuteRequest, Context], Awaitable[step_pb2.ExecuteResponse]]


class GrpcAgency(step_pb2_grpc.StepServiceServicer):
    """What was asked of it."""

    def __init__(self, server: aio.Server) -> None:
        self._server = server
        self.asked: list[step_pb2.ExecuteRequest] = []
        self.metadata: list[dict[str, Any]] = []
        self.remaining_s: list[float | None] = []
        self.behaviour: Behaviour = done(b"{}")
        self.cancelled = asyncio.Event()
        self.health: health.aio.HealthServicer | None = None
        self.port = 0

    async def Execute(  # noqa: N802 -- as the proto says
        self, request: step_pb2.ExecuteRequest, context: Context
    ) -> step_pb2.ExecuteResponse:
        self.asked.append(request)
        self.metadata.append(dict(context.invocation_metadata() or ()))
        self.remaining_s.append(context.time_remaining())
        try:
            return await self.behaviour(request, context)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise

    async def stop(self) -> None:
        await self._server.stop(None)

    async def says_it_serves(self, serves: bool) -> None:
        assert self.health is not None
        status = health_pb2.HealthCheckResponse
        await self.health.set("", status.SERVING if serves else status.NOT_SERVING)


@asynccontextmanager
async def grpc_agency(
    credentials: grpc.ServerCredentials | None = None, *, is_healthy: bool = False
) -> AsyncIterator[GrpcAgency]:
    """A server on a free port; with `is_healthy` it knows health checks."""
    server = aio.server()
    found = GrpcAgency(server)
    step_pb2_grpc.add_StepServiceServicer_to_server(found, server)
    if is_healthy:
        found.health = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(found.health, server)
    found.port = (
        server.add_insecure_port("127.0.0.1:0")
        if credentials is None
        else server.add_secure_port("127.0.0.1:0", credentials)
    )
    await server.start()
    try:
        yield found
    finally:
        await server.stop(None)


def done(output: bytes) -> Behaviour:
    return responds(step_pb2.ExecuteResponse(done=step_pb2.ExecuteResponse.Done(output=output)))


def responds(response: step_pb2.ExecuteResponse) -> Behaviour:
    async def behave(_: step_pb2.ExecuteRequest, __: Context) -> step_pb2.ExecuteResponse:
        return response

    return behave


def aborts(code: grpc.StatusCode, words: str = "", trailers: Sequence[tuple[str, str | bytes]] = ()) -> Behaviour:
    async def behave(_: step_pb2.ExecuteRequest, context: Context) -> step_pb2.ExecuteResponse:
        await context.abort(code, words, tuple(trailers))

    return behave


async def hangs(_: step_pb2.ExecuteRequest, __: Context) -> step_pb2.ExecuteResponse:
    await asyncio.Event().wait()
    raise AssertionError
