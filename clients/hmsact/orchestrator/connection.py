"""A client's connection to its daemon, by which every call is made."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from copy import copy
from types import TracebackType
from typing import Any, Self, TypeVar

import grpc
from google.protobuf.message import Message
from grpc import aio

from hmsact.connect import TIMEOUT, Tls, target
from hmsact.duration import Duration
from hmsact.recorded import Recorded, recorded_of
from hmsact.requests import Requests
from hmsact.status import error_of
from hmsact.v1 import (
    checkpoint_pb2_grpc,
    job_pb2_grpc,
    operation_pb2_grpc,
    system_pb2_grpc,
    timeline_pb2_grpc,
    worker_pb2_grpc,
)

Response = TypeVar("Response")


class Caller:
    """What both connections are made from, and say of themselves."""

    def __init__(
        self,
        address: str | None = None,
        *,
        token: str | None = None,
        tls: Tls = None,
        namespace: str | None = None,
        timeout: Duration | float = TIMEOUT,
    ) -> None:
        self._target = target(address, token=token, tls=tls, namespace=namespace, timeout=timeout)
        self._requests = Requests(self._target.namespace)
        self._is_lent = False
        """True if the connection is another client's, who closes it."""

    def on_behalf_of(self, token: str) -> Self:
        """The same client, acting for a person who has signed in: `token` is their access token.

        For programs that many people use, such as a portal: make one for each request of a person, it costs nothing.
        What it does is recorded as the program's, on behalf of that person, once the daemon has verified their token;
        what it may do is what the program may. All share the connection of the first, which alone closes it.

        Raises InvalidArgument for a text that is no token. Calls raise Unauthenticated when the token is no good (its
        reason then begins with ON_BEHALF_OF_: the person has to sign in again), and Refused if it was given to a client
        that isn't this program's.
        """
        acting = copy(self)
        vars(acting).update(_target=self._target.for_person(token), _is_lent=True)
        return acting

    @property
    def address(self) -> str:
        """The address of the daemon."""
        return self._target.address

    @property
    def namespace(self) -> str:
        """The namespace it works in."""
        return self._target.namespace

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.address}, namespace {self.namespace}>"


class Connection(Caller):
    """A connection on gRPC's synchronous stack. It is made with the first call."""

    def __init__(
        self,
        address: str | None = None,
        *,
        token: str | None = None,
        tls: Tls = None,
        namespace: str | None = None,
        timeout: Duration | float = TIMEOUT,
    ) -> None:
        super().__init__(address, token=token, tls=tls, namespace=namespace, timeout=timeout)
        if self._target.credentials is None:
            channel = grpc.insecure_channel(self._target.address, self._target.options)
        else:
            channel = grpc.secure_channel(self._target.address, self._target.credentials, self._target.options)
        self._stubs = _Stubs(channel)

    def close(self) -> None:
        """Closes the connection. Streams that are still read end with Unavailable."""
        if not self._is_lent:
            self._stubs.channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _change(self, method: Callable[..., Any], request: Message) -> Recorded:
        return recorded_of(self._call(method, request).recorded)

    def _call(self, method: Callable[..., Response], request: Message, *, timeout_s: float | None = None) -> Response:
        try:
            return method(request, timeout=timeout_s or self._target.timeout_s, metadata=self._target.metadata)
        except grpc.RpcError as failure:
            raise error_of(failure, self.address) from None


class AsyncConnection(Caller):
    """A connection on grpc.aio."""

    def __init__(
        self,
        address: str | None = None,
        *,
        token: str | None = None,
        tls: Tls = None,
        namespace: str | None = None,
        timeout: Duration | float = TIMEOUT,
    ) -> None:
        super().__init__(address, token=token, tls=tls, namespace=namespace, timeout=timeout)
        self._connected = _Connected()

    async def close(self) -> None:
        """Closes the connection. Streams that are still read end with Unavailable."""
        if not self._is_lent and self._connected.stubs is not None:
            await self._connected.stubs.channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def _stubs(self) -> _AsyncStubs:
        # Not in the constructor: a channel of grpc.aio belongs to the loop that runs when it is made.
        if self._connected.stubs is None:
            target = self._target
            self._connected.stubs = _AsyncStubs(
                aio.insecure_channel(target.address, target.options)
                if target.credentials is None
                else aio.secure_channel(target.address, target.credentials, target.options)
            )
        return self._connected.stubs

    async def _change(self, method: Callable[..., Awaitable[Any]], request: Message) -> Recorded:
        return recorded_of((await self._call(method, request)).recorded)

    async def _call(
        self, method: Callable[..., Awaitable[Response]], request: Message, *, timeout_s: float | None = None
    ) -> Response:
        try:
            return await method(request, timeout=timeout_s or self._target.timeout_s, metadata=self._target.metadata)
        except grpc.RpcError as failure:
            raise error_of(failure, self.address) from None


class _Stubs:
    """A channel, and the services behind it."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.channel = channel
        self.operations = operation_pb2_grpc.OperationServiceStub(channel)
        self.checkpoints = checkpoint_pb2_grpc.CheckpointServiceStub(channel)
        self.jobs = job_pb2_grpc.JobServiceStub(channel)
        self.timelines = timeline_pb2_grpc.TimelineServiceStub(channel)
        self.system = system_pb2_grpc.SystemServiceStub(channel)
        self.workers = worker_pb2_grpc.WorkerServiceStub(channel)


class _AsyncStubs:
    """The same for coroutines: the type checker tells the services' methods apart by the channel."""

    def __init__(self, channel: aio.Channel) -> None:
        self.channel = channel
        self.operations = operation_pb2_grpc.OperationServiceStub(channel)
        self.checkpoints = checkpoint_pb2_grpc.CheckpointServiceStub(channel)
        self.jobs = job_pb2_grpc.JobServiceStub(channel)
        self.timelines = timeline_pb2_grpc.TimelineServiceStub(channel)
        self.system = system_pb2_grpc.SystemServiceStub(channel)
        self.workers = worker_pb2_grpc.WorkerServiceStub(channel)


class _Connected:
    """The services of a connection, once it is made: whoever it is lent to before that has it then, too."""

    stubs: _AsyncStubs | None = None
