"""The timeline of one operation."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Sequence

import grpc

from hmsact.account import Account
from hmsact.event import Event, Reader
from hmsact.operation import OperationFacts
from hmsact.orchestrator.connection import AsyncConnection, Connection
from hmsact.status import error_of
from hmsact.timeline import Line, lines_of
from hmsact.watch import Watch


class Timelines(Connection):
    """Follows a timeline, tells it in lines or in words, and exports it with its proofs."""

    def events(
        self,
        operation: str | OperationFacts,
        after: str | Event | None = None,
        all: bool = False,  # noqa: A002 - the word of the contract
        *,
        follow: bool = True,
        records: bool = False,
    ) -> Iterator[Event]:
        """The events of an operation: its history first, then live, until it is final.

        Without `all` these are the narrated kinds. `after` is an event, or its cursor: only what follows it. With
        follow=False it ends after what is recorded now; with `records` each event has its record as it stands on disk.
        When the daemon is away for a while, this waits and goes on where it was: nothing is missed or told twice.
        Raises NotFound, and Unavailable if the daemon stays away.
        """
        reader = self._reader(operation)
        watch = Watch(
            reader,
            self._requests,
            after=after,
            everything=all,
            follow=follow,
            records=records,
            address=self.address,
        )
        while True:
            stream = self._stubs.timelines.WatchOperation(watch.request(), metadata=self._target.metadata)
            try:
                for frame in stream:
                    event = watch.take(frame)
                    if event is not None:
                        yield event
            except grpc.RpcError as failure:
                delay_s = watch.lost_s(error_of(failure, self.address))
            else:
                return
            finally:
                stream.cancel()
            time.sleep(delay_s)

    def timeline(
        self,
        operation: str | OperationFacts,
        all: bool = False,  # noqa: A002 - the word of the contract
    ) -> list[Line]:
        """What has happened to an operation so far, as lines to be read: `line.pretty()`. Raises NotFound.

        Without `all` these are the narrated kinds.
        """
        reader = self._reader(operation)
        told = self.events(reader.operation.id, all=True, follow=False)
        return lines_of(told, is_final=reader.is_final, everything=all)

    def why(self, operation: str | OperationFacts, *, time_zone: str | None = None) -> Account:
        """An account of an operation in plain words: what happened, who decided, what is awaited, by when.

        `time_zone` is an IANA name such as "America/New_York", in which sentences tell times; UTC without it. Raises
        NotFound, and InvalidArgument for a zone that the daemon does not know.
        """
        return Account(
            self._call(self._stubs.timelines.ExplainOperation, self._requests.explain(operation, time_zone)).account
        )

    def export(self, operation: str | OperationFacts, *, earlier_sizes: Sequence[int] = ()) -> bytes:
        """The timeline of an operation with its proofs, as a file that `hmsact verify` reads. Raises NotFound.

        `earlier_sizes` are the sizes of the log that seals kept elsewhere name (those of receipts, say): the file then
        proves that the log has only grown since, and `verify(head=SEAL)` accepts it.
        """
        stream = self._stubs.timelines.ExportOperation(
            self._requests.export(operation, earlier_sizes), metadata=self._target.metadata
        )
        try:
            return b"".join(part.part for part in stream)
        except grpc.RpcError as failure:
            raise error_of(failure, self.address) from None

    def _reader(self, operation: str | OperationFacts) -> Reader:
        return Reader(self._call(self._stubs.operations.GetOperation, self._requests.get(operation)).operation)


class AsyncTimelines(AsyncConnection):
    """The twin of Timelines for coroutines."""

    async def events(
        self,
        operation: str | OperationFacts,
        after: str | Event | None = None,
        all: bool = False,  # noqa: A002 - the word of the contract
        *,
        follow: bool = True,
        records: bool = False,
    ) -> AsyncIterator[Event]:
        """The events of an operation: its history first, then live, until it is final."""
        reader = await self._reader(operation)
        watch = Watch(
            reader,
            self._requests,
            after=after,
            everything=all,
            follow=follow,
            records=records,
            address=self.address,
        )
        while True:
            stream = self._stubs.timelines.WatchOperation(watch.request(), metadata=self._target.metadata)
            try:
                async for frame in stream:
                    event = watch.take(frame)
                    if event is not None:
                        yield event
            except grpc.RpcError as failure:
                delay_s = watch.lost_s(error_of(failure, self.address))
            else:
                return
            finally:
                stream.cancel()
            await asyncio.sleep(delay_s)

    async def timeline(
        self,
        operation: str | OperationFacts,
        all: bool = False,  # noqa: A002 - the word of the contract
    ) -> list[Line]:
        """What has happened to an operation so far, as lines to be read: `line.pretty()`."""
        reader = await self._reader(operation)
        told = [event async for event in self.events(reader.operation.id, all=True, follow=False)]
        return lines_of(told, is_final=reader.is_final, everything=all)

    async def why(self, operation: str | OperationFacts, *, time_zone: str | None = None) -> Account:
        """An account of an operation in plain words: what happened, who decided, what is awaited, by when."""
        request = self._requests.explain(operation, time_zone)
        return Account((await self._call(self._stubs.timelines.ExplainOperation, request)).account)

    async def export(self, operation: str | OperationFacts, *, earlier_sizes: Sequence[int] = ()) -> bytes:
        """The timeline of an operation with its proofs, as a file that `hmsact verify` reads. Raises NotFound.

        `earlier_sizes` are the sizes of the log that seals kept elsewhere name (those of receipts, say): the file then
        proves that the log has only grown since, and `verify(head=SEAL)` accepts it.
        """
        stream = self._stubs.timelines.ExportOperation(
            self._requests.export(operation, earlier_sizes), metadata=self._target.metadata
        )
        try:
            return b"".join([part.part async for part in stream])
        except grpc.RpcError as failure:
            raise error_of(failure, self.address) from None

    async def _reader(self, operation: str | OperationFacts) -> Reader:
        return Reader((await self._call(self._stubs.operations.GetOperation, self._requests.get(operation))).operation)
