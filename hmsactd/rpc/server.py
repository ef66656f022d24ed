"""The gRPC server: its options, its servicers, health and reflection. Started and stopped by the daemon."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import cast

import grpc
from grpc import aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc
from hmsact.v1 import (
    checkpoint_pb2_grpc,
    job_pb2_grpc,
    operation_pb2_grpc,
    system_pb2_grpc,
    timeline_pb2_grpc,
    worker_pb2_grpc,
)

from hmsactd.errors import StartRefused
from hmsactd.rpc.checkpoints import CheckpointServicer
from hmsactd.rpc.desk import Desk
from hmsactd.rpc.interceptor import Interceptor, Measure
from hmsactd.rpc.jobs import JobServicer
from hmsactd.rpc.operations import OperationServicer
from hmsactd.rpc.patience import Patience
from hmsactd.rpc.permissions import FILES, caller_table, permission_table
from hmsactd.rpc.streams import Streams
from hmsactd.rpc.system import SystemServicer
from hmsactd.rpc.timelines import TimelineServicer
from hmsactd.rpc.tls import ServerCertificate
from hmsactd.rpc.transport import options
from hmsactd.rpc.workers import WorkerServicer
from hmsactd.settings.sections import Grpc
from hmsactd.settings.values import Address

SERVICES = tuple(service.full_name for file in FILES for service in file.services_by_name.values())


class GrpcServer:
    """The server of the daemon's API."""

    def __init__(
        self,
        settings: Grpc,
        desk: Desk,
        measure: Measure,
        version: str,
        advance: Callable[[int], Awaitable[None]] | None,
        has_reflection: bool,
    ) -> None:
        self.patience = Patience()
        self._health = health.aio.HealthServicer()
        self._settings = settings
        streams = Streams(desk.bounds.streams_per_principal_max, settings.streams_max)
        guard = Interceptor(
            desk.identity,
            permission_table(),
            caller_table(),
            measure,
            settings.requests_max,
            streams,
            has_certificates=settings.mutual is not None,
        )
        self._server = aio.server(interceptors=[guard], options=options(settings))
        by_name = cast("aio.Server", _ByName(self._server))
        self.timelines = add_servicers(by_name, desk, self.patience, streams, version, advance)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, by_name)
        if has_reflection:
            names = (*SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME)
            # Not by enable_server_reflection: for what it takes for a blocking server it adds a blocking servicer.
            add = reflection_pb2_grpc.add_ServerReflectionServicer_to_server
            add(reflection.aio.ReflectionServicer(names), by_name)  # type: ignore[no-untyped-call]  # it has no stubs

    async def start(self) -> tuple[Address, Address | None]:
        """Listen, and serve; returns the addresses with the ports they got. Raises `StartRefused` if one is taken."""
        said = self._settings
        plain = self._add_port(said.listen, self._certificate(None))
        mutual = None
        if said.mutual is not None:
            mutual = self._add_port(said.mutual.listen, self._certificate(said.mutual.client_ca_file))
        await self._server.start()
        return plain, mutual

    def _certificate(self, client_ca: Path | None) -> grpc.ServerCredentials | None:
        files = self._settings.files(client_ca)
        return ServerCertificate(files).credentials() if files is not None else None

    def _add_port(self, address: Address, credentials: grpc.ServerCredentials | None) -> Address:
        try:
            if credentials is None:
                port = self._server.add_insecure_port(str(address))
            else:
                port = self._server.add_secure_port(str(address), credentials)
        except RuntimeError as error:
            raise StartRefused(f"gRPC can't listen on {address}: {error}") from error
        return Address(address.host, port)

    async def ready(self) -> None:
        """Say so to whoever asks for the health."""
        for name in ("", *SERVICES):
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)

    async def unready(self) -> None:
        """Say so: the daemon is there and can't record anything."""
        for name in ("", *SERVICES):
            await self._health.set(name, health_pb2.HealthCheckResponse.NOT_SERVING)

    async def stop(self, grace_s: float) -> None:
        """Take no new calls, end streams, and let the rest finish within the grace."""
        await self._health.enter_graceful_shutdown()
        self.patience.stop()
        await self._server.stop(grace_s)


def add_servicers(
    server: aio.Server,
    desk: Desk,
    patience: Patience,
    streams: Streams,
    version: str,
    advance: Callable[[int], Awaitable[None]] | None,
) -> TimelineServicer:
    """Adds everything that is served to a server, real or simulated; returns the servicer that knows who watches."""
    timelines = TimelineServicer(desk, patience, streams)
    operations = OperationServicer(desk, patience, streams)
    operation_pb2_grpc.add_OperationServiceServicer_to_server(operations, server)
    job_pb2_grpc.add_JobServiceServicer_to_server(JobServicer(desk, patience, streams), server)
    checkpoint_pb2_grpc.add_CheckpointServiceServicer_to_server(CheckpointServicer(desk), server)
    timeline_pb2_grpc.add_TimelineServiceServicer_to_server(timelines, server)
    worker_pb2_grpc.add_WorkerServiceServicer_to_server(WorkerServicer(desk, patience, streams), server)
    system_pb2_grpc.add_SystemServiceServicer_to_server(SystemServicer(desk, version, advance), server)
    return timelines


class _ByName:
    """Takes servicers whose methods are looked up by name when they are called.

    Of a method that is registered gRPC awaits the next call in a task of its own, and with every call that comes it
    begins anew to wait for all of them: a fifth of its time for a call, with the forty methods that we have.
    """

    def __init__(self, server: aio.Server) -> None:
        self._server = server

    def add_generic_rpc_handlers(self, handlers: Sequence[grpc.GenericRpcHandler]) -> None:
        """Passes them on."""
        self._server.add_generic_rpc_handlers(handlers)

    def add_registered_method_handlers(self, service: str, handlers: object) -> None:
        """Registers none."""
