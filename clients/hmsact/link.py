"""A worker's connection to the daemon: hello, calls in, reports out, and again after every absence of the daemon.

What is in hand outlives a connection. It ends when the worker leaves with empty hands, or when the daemon will not
have it. What a step's function does is not known here.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Sequence

import grpc
from grpc import aio

from hmsact.backoff import delays_s
from hmsact.connect import Target
from hmsact.errors import (
    HmsactError,
    InvalidArgument,
    NotFound,
    PreconditionFailed,
    Refused,
    Unauthenticated,
    Unavailable,
    Unimplemented,
)
from hmsact.hand import Hand
from hmsact.status import error_of
from hmsact.v1 import worker_pb2, worker_pb2_grpc

WELCOME_S = 15.0
"""How long a daemon may take to answer a hello."""

FAREWELL_S = 5.0
"""How long the last messages of a worker that leaves may take."""

REPORTLESS_S = 30.0
"""How long a worker that leaves tries to reach a daemon that is gone, to report what it has done. Longer than a
restart; after it the daemon gives the calls to others."""

FATAL = (InvalidArgument, NotFound, PreconditionFailed, Refused, Unauthenticated, Unimplemented)

Stream = aio.StreamStreamCall[worker_pb2.WorkRequest, worker_pb2.WorkResponse]

log = logging.getLogger("hmsact.worker")


class Link:
    """Keeps a worker connected. `perform` is given every call that is new; it must return at once."""

    def __init__(
        self,
        target: Target,
        svc: str,
        steps: Sequence[str],
        max_in_flight: int,
        hand: Hand,
        perform: Callable[[worker_pb2.Call], None],
    ) -> None:
        self._target = target
        self._svc = svc
        self._steps = steps
        self._hand = hand
        self._perform = perform
        self._session = ""
        self._max_in_flight = max_in_flight
        self._said_max_in_flight = max_in_flight
        self._is_leaving = False
        self._has_said_so = False
        self._is_draining = False
        self._left = asyncio.Event()
        self.output_bytes_max = 256 * 1024

    def leave(self) -> None:
        """Takes no further calls, and ends when what is in hand has been reported."""
        self._is_leaving = True
        self._left.set()
        self._hand.wake()

    def resize(self, max_in_flight: int) -> None:
        """Changes how many calls are taken at a time."""
        self._max_in_flight = max_in_flight
        self._hand.wake()

    @property
    def is_leaving(self) -> bool:
        """True once it takes no further calls."""
        return self._is_leaving

    async def run(self) -> HmsactError | None:
        """Stays connected until the worker has left. Returns the daemon's word if it will not have this worker."""
        channel = self._channel()
        try:
            delays = delays_s()
            patience = _PartingPatience()
            level = logging.WARNING
            while not (self._is_leaving and self._hand.is_empty):
                stream = worker_pb2_grpc.WorkerServiceStub(channel).Work(metadata=self._target.metadata)
                try:
                    error, was_welcome = await self._converse(stream)
                finally:
                    stream.cancel()
                if isinstance(error, FATAL):
                    return error
                if was_welcome:
                    delays, patience, level = delays_s(), _PartingPatience(), logging.WARNING
                if error is not None:
                    # Once for each absence of the daemon is enough.
                    log.log(level, "%s: %s; trying again", self._svc, error)
                    level = logging.DEBUG
                if self._is_leaving and not self._hand.working and patience.is_over():
                    log.error("%s leaves without having reported %d calls", self._svc, len(self._hand.attempts))
                    return None
                await self._pause(next(delays))
            return None
        finally:
            await channel.close()

    # -- one connection ------------------------------------------------------------------------------------------------

    async def _converse(self, stream: Stream) -> tuple[HmsactError | None, bool]:
        """One connection, from hello to its end: the error it ended with, and whether the daemon had welcomed us."""
        try:
            async with asyncio.timeout(WELCOME_S):
                if not await self._greet(stream):
                    return Unavailable(f"the daemon at {self._target.address} hung up on a hello"), False
        except grpc.RpcError as failure:
            return error_of(failure, self._target.address), False
        except TimeoutError:
            return Unavailable(f"the daemon at {self._target.address} did not answer a hello"), False
        try:
            async with asyncio.timeout(None) as farewell, asyncio.TaskGroup() as tasks:
                writer = tasks.create_task(self._write(stream, farewell), name=f"{self._svc} reports")
                error = await self._read(stream)
                writer.cancel()
        except TimeoutError:
            error = None
        return error, True

    async def _greet(self, stream: Stream) -> bool:
        """Says hello; False if the daemon ends the stream without a word."""
        self._said_max_in_flight = self._max_in_flight
        self._has_said_so = False
        self._is_draining = False
        hello = worker_pb2.Hello(
            namespace=self._target.namespace,
            svc=self._svc,
            steps=self._steps,
            max_in_flight=self._max_in_flight,
            session=self._session,
            in_hand=self._hand.attempts,
        )
        try:
            await stream.write(worker_pb2.WorkRequest(hello=hello))
        except asyncio.InvalidStateError:
            # The stream is over already; reading it says why.
            pass
        first = await stream.read()
        if not isinstance(first, worker_pb2.WorkResponse):
            return False
        self._session = first.welcome.session
        self.output_bytes_max = first.welcome.payload_max_bytes or self.output_bytes_max
        for attempt in first.welcome.gone:
            self._hand.withdraw(attempt, "lost")
        self._hand.resend()
        log.info("%s: serving %s at %s", self._svc, ", ".join(self._steps), self._target.address)
        self._hear(first)
        return True

    async def _read(self, stream: Stream) -> HmsactError | None:
        """Hears the daemon out; returns the error that the connection ended with, if any."""
        try:
            while isinstance(heard := await stream.read(), worker_pb2.WorkResponse):
                self._hear(heard)
        except grpc.RpcError as failure:
            return error_of(failure, self._target.address)
        return None

    def _hear(self, heard: worker_pb2.WorkResponse) -> None:
        for verdict in heard.verdicts:
            self._hand.judge(verdict)
        for withdrawn in heard.withdrawn:
            self._hand.withdraw(withdrawn.attempt, withdrawn.code)
        for call in heard.calls:
            self._perform(call)
        if heard.drain:
            log.info("%s: the daemon at %s is going down", self._svc, self._target.address)
            self._is_draining = True
            self._hand.wake()

    async def _write(self, stream: Stream, farewell: asyncio.Timeout) -> None:
        """Says whatever there is to be said, until this worker has left or the daemon wants to go."""
        try:
            while True:
                if self._is_leaving and not self._has_said_so:
                    self._has_said_so = True
                    await stream.write(worker_pb2.WorkRequest(leaving=True))
                if self._max_in_flight != self._said_max_in_flight:
                    self._said_max_in_flight = self._max_in_flight
                    await stream.write(worker_pb2.WorkRequest(max_in_flight=self._max_in_flight))
                for batch in self._hand.batches():
                    await stream.write(batch)
                if self._is_draining or (self._is_leaving and self._hand.is_empty):
                    # Nothing more will come; the daemon has the last word, for a while.
                    farewell.reschedule(asyncio.get_running_loop().time() + FAREWELL_S)
                    await stream.done_writing()
                    return
                await self._hand.news()
        except (grpc.RpcError, asyncio.InvalidStateError):
            # The stream is over; whoever reads it learns why.
            return

    # -- around it -----------------------------------------------------------------------------------------------------

    def _channel(self) -> aio.Channel:
        if self._target.credentials is None:
            return aio.insecure_channel(self._target.address, self._target.options)
        return aio.secure_channel(self._target.address, self._target.credentials, self._target.options)

    async def _pause(self, delay_s: float) -> None:
        """Waits before the next connection; less when the worker is told to leave meanwhile."""
        try:
            async with asyncio.timeout(delay_s):
                await self._left.wait()
                await self._hand.emptied()
        except TimeoutError:
            pass


class _PartingPatience:
    """How long a worker that leaves has been trying to report what it has done."""

    def __init__(self) -> None:
        self._since: float | None = None

    def is_over(self) -> bool:
        """True if it has asked for long enough."""
        now = time.monotonic()
        self._since = self._since or now
        return now - self._since > REPORTLESS_S
