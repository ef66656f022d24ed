"""Starting many operations over one stream: batches come in, their results go out, in order.

Each start is begun as any other is, and none waits for the one before it: those that are under way at a time share
their commits. Nothing here decides what a start may be.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator

import anyio
from anyio.streams.memory import MemoryObjectSendStream
from hmsact.v1 import operation_pb2 as pb

from hmsactd.engine.letter import Answer
from hmsactd.engine.requests import Begun
from hmsactd.errors import HmsactdError, InvalidArgument, Unavailable, Violation
from hmsactd.rpc import convert
from hmsactd.rpc.caller import caller
from hmsactd.rpc.desk import Desk
from hmsactd.rpc.patience import Patience
from hmsactd.rpc.start import Starter
from hmsactd.rpc.status import error_of, status_of
from hmsactd.rpc.streams import Streams
from hmsactd.value import value

UNDER_WAY_MAX = 1_024
"""Starts begun and not yet recorded, all streams together: two commits of the largest size, one that is being written
and one that is being made. With more nothing would be faster, and whoever starts a single operation would wait behind
them all."""

BATCHES_AHEAD_MAX = 2
"""Batches of a stream that are begun while another is being answered. Beyond it the stream is not read on, so that one
who sends and does not read costs a few batches of memory."""

BEGUN_AT_A_TIME = 16
"""Starts begun before others are heard: about two milliseconds of the daemon's time."""

TOLD_AT_A_TIME = 100
"""Results written down before others are heard."""

SENT_MAX_BYTES = 1024 * 1024
"""Results that travel in one message: a thousand usual ones need less. Some of a refusal's faults are long."""


@value(frozen=True, slots=True)
class Batch:
    """A batch whose starts have been begun, or refused at once."""

    number: int
    starts: tuple[Begun | Exception, ...]


class BulkStarter:
    """Serves the streams of starts."""

    def __init__(self, desk: Desk, starter: Starter, patience: Patience, streams: Streams) -> None:
        self._desk = desk
        self._starter = starter
        self._patience = patience
        self._streams = streams
        self._room = asyncio.Semaphore(UNDER_WAY_MAX)

    async def answers(
        self, requests: AsyncIterator[pb.StartOperationsRequest]
    ) -> AsyncGenerator[pb.StartOperationsResponse]:
        """The results of every batch, while a task of its own reads on."""
        errors: list[HmsactdError] = []
        with self._streams.one_more(caller()):
            begun, to_answer = anyio.create_memory_object_stream[Batch](BATCHES_AHEAD_MAX)
            async with anyio.create_task_group() as tasks:
                reading = anyio.CancelScope()
                tasks.start_soon(self._read, requests, begun, errors, reading, name="reads starts")
                tasks.start_soon(self._stop_reading, reading, name="reads starts no longer")
                try:
                    async for batch in to_answer:
                        for response in await self._responses(batch):
                            yield response
                except GeneratorExit:
                    # The stream was cut. Let out from here it would come in a group, which is not how a generator ends.
                    return
                finally:
                    tasks.cancel_scope.cancel()
        # Whatever ends the stream comes after the results of all that was begun.
        if errors:
            raise errors[0]

    async def _stop_reading(self, reading: anyio.CancelScope) -> None:
        await self._patience.stopping()
        reading.cancel()

    # -- what comes in -------------------------------------------------------------------------------------------------

    async def _read(
        self,
        requests: AsyncIterator[pb.StartOperationsRequest],
        begun: MemoryObjectSendStream[Batch],
        errors: list[HmsactdError],
        reading: anyio.CancelScope,
    ) -> None:
        namespace, definition = "", b""
        with begun:
            try:
                with reading:
                    async for request in requests:
                        namespace = request.namespace or namespace
                        definition = request.definition or definition
                        await begun.send(await self._begin(request, namespace, definition))
            except HmsactdError as error:
                errors.append(error)
            if reading.cancelled_caught:
                errors.append(
                    Unavailable("SHUTTING_DOWN", "the daemon is shutting down; send again what has no result")
                )

    async def _begin(self, request: pb.StartOperationsRequest, namespace: str, definition: bytes) -> Batch:
        """Begin every start of a batch, as soon as there is room for it."""
        most = self._desk.bounds.starts_per_batch_max
        if len(request.starts) > most:
            sentence = f"are {len(request.starts)}; at most {most} are allowed in a batch (starts_per_batch_max)"
            raise InvalidArgument([Violation("starts", sentence, "TOO_MANY")])
        starts: list[Begun | Exception | asyncio.Task[Begun | Exception]] = []
        async with asyncio.TaskGroup() as keyed:
            for index, start in enumerate(request.starts):
                if index % BEGUN_AT_A_TIME == BEGUN_AT_A_TIME - 1:
                    await anyio.lowlevel.checkpoint()
                if not start.namespace:
                    start.namespace = namespace
                await self._room.acquire()
                begun = self._begin_one(start, start.definition or definition)
                # A business key is looked up in the store: the next start need not wait for that.
                starts.append(keyed.create_task(begun, name="begins a start") if start.key else await begun)
        return Batch(request.batch, tuple(one.result() if isinstance(one, asyncio.Task) else one for one in starts))

    async def _begin_one(self, start: pb.StartOperationRequest, definition: bytes) -> Begun | Exception:
        told: object = None
        try:
            begun = await self._starter.begin(start, definition)
            told = begun.told
        except Exception as raised:  # noqa: BLE001 -- whatever it is, it is said of this start alone
            return raised
        else:
            return begun
        finally:
            if isinstance(told, asyncio.Future) and not told.done():
                told.add_done_callback(self._give_room)
            else:
                self._room.release()

    def _give_room(self, told: asyncio.Future[Answer]) -> None:
        self._room.release()
        if not told.cancelled():
            # Whoever sent it may be gone; then what went wrong is nobody's, and no warning is due.
            told.exception()

    # -- what goes out -------------------------------------------------------------------------------------------------

    async def _responses(self, batch: Batch) -> list[pb.StartOperationsResponse]:
        """The results of a batch, in messages that are each well below what a message may have."""
        most = min(SENT_MAX_BYTES, self._desk.settings.grpc.message_max_bytes // 2)
        responses, room = [pb.StartOperationsResponse(batch=batch.number)], most
        for index, start in enumerate(batch.starts):
            result = await self._result(start)
            room -= result.ByteSize()
            if room < 0 and responses[-1].results:
                responses.append(pb.StartOperationsResponse(batch=batch.number, first=index))
                room = most
            responses[-1].results.append(result)
            if index % TOLD_AT_A_TIME == TOLD_AT_A_TIME - 1:
                await anyio.lowlevel.checkpoint()
        return responses

    async def _result(self, start: Begun | Exception) -> pb.StartResult:
        try:
            if isinstance(start, Exception):
                raise start
            done = await self._desk.requests.finish(start)
        except Exception as raised:  # noqa: BLE001 -- as in the interceptor: its text must not reach the caller
            return pb.StartResult(refused=status_of(error_of(raised)))
        return pb.StartResult(started=convert.started(done))
