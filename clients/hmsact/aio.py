"""The client for coroutines, on grpc.aio: the twin of hmsact.client, where arguments and errors are described."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

import grpc
from google.protobuf.message import Message
from grpc import aio

from hmsact import bulk, flow
from hmsact.account import Account
from hmsact.choice import choice_of, start_of
from hmsact.connect import TIMEOUT, Target, Tls, target
from hmsact.counted import Counted, counted_of
from hmsact.duration import Duration
from hmsact.errors import DeadlineExceeded, HmsactError
from hmsact.event import Event, Reader
from hmsact.inbox import Pending, Shown, pending_of
from hmsact.job import AsyncJob, JobFacts, JobResult, Outcome, result_of
from hmsact.many import Item, Many, Start, StartResult
from hmsact.operation import AsyncOperation, OperationFacts
from hmsact.place import Place, demand_of
from hmsact.principal import Identity, identity_of
from hmsact.recorded import CompletedStep, Recorded, completed_of, recorded_of
from hmsact.requests import PAGE_SIZE, Clock, KeyPolicy, Requests
from hmsact.status import error_of
from hmsact.stream import AsyncEventStream
from hmsact.system import SystemInfo, system_info_of
from hmsact.timeline import Line, lines_of
from hmsact.v1 import (
    checkpoint_pb2_grpc,
    job_pb2_grpc,
    operation_pb2_grpc,
    system_pb2,
    system_pb2_grpc,
    timeline_pb2_grpc,
    worker_pb2_grpc,
)
from hmsact.wait import Waiting
from hmsact.wanted import GroupBy, OrderBy, Wanted
from hmsact.watch import Watch

Response = TypeVar("Response")


class AsyncOrchestrator:
    """Starts operations, watches them and steers them, from coroutines; see Orchestrator.

    Its methods are those of Orchestrator, as coroutines and asynchronous iterators. It connects inside the loop in
    which it is first used and belongs to that loop.
    """

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
        self._connected: _Stubs | None = None

    @property
    def address(self) -> str:
        """The address of the daemon."""
        return self._target.address

    @property
    def namespace(self) -> str:
        """The namespace it works in."""
        return self._target.namespace

    async def close(self) -> None:
        """Closes the connection. Streams that are still read end with Unavailable."""
        if self._connected is not None:
            await self._connected.channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<AsyncOrchestrator {self.address}, namespace {self.namespace}>"

    # -- operations ----------------------------------------------------------------------------------------------------

    async def start(
        self,
        *,
        name: str | None = None,
        steps: flow.Steps,
        input: object = None,  # noqa: A002 - the word of the contract
        key: str | None = None,
        key_policy: KeyPolicy | None = None,
        labels: Mapping[str, str] | None = None,
        request_id: str | None = None,
        reason: str | None = None,
        requested_by: str | None = None,
        sla: Duration | None = None,
    ) -> AsyncOperation:
        """Starts an operation; it has been recorded when this returns."""
        request = self._requests.start(
            name, steps, input, key, key_policy, labels, request_id, reason, requested_by, sla
        )
        answer = await self._call(self._stubs.operations.StartOperation, request)
        operation = AsyncOperation(self._requests.started(request, answer), self, is_whole=False)
        operation.recorded = recorded_of(answer.recorded)
        # The open operation that has the key may be of another name.
        return await operation.refresh() if key_policy == "return_open" else operation

    def start_many(
        self,
        items: Iterable[Item] | AsyncIterable[Item],
        *,
        name: str | None = None,
        steps: flow.Steps | None = None,
        key_policy: KeyPolicy | None = None,
        labels: Mapping[str, str] | None = None,
        request_id: str | None = None,
        reason: str | None = None,
        requested_by: str | None = None,
        sla: Duration | None = None,
    ) -> AsyncIterator[StartResult[AsyncOperation]]:
        """Starts many operations and gives a result for each, in order; `items` may be iterated over asynchronously."""
        common = Start(
            key_policy=key_policy,
            labels=labels,
            request_id=request_id,
            reason=reason,
            requested_by=requested_by,
            name=name,
            steps=steps,
            sla=sla,
        )
        many = Many(self._requests, common, lambda message: AsyncOperation(message, self, is_whole=False), self.address)
        return bulk.run_async(
            many, items, lambda: self._stubs.operations.StartOperations(metadata=self._target.metadata), self.address
        )

    async def get(self, operation: str | OperationFacts) -> AsyncOperation:
        """Fetches an operation by its id, or by any part of the id that no other has."""
        answer = await self._call(self._stubs.operations.GetOperation, self._requests.get(operation))
        return AsyncOperation(answer.operation, self, is_whole=True)

    async def wait(
        self,
        operation: str | OperationFacts,
        timeout: Duration | float | None = None,  # noqa: ASYNC109 - as the blocking twin has it
    ) -> AsyncOperation:
        """Waits until an operation is final, or until the time is up, and returns it; see Operation.wait."""
        waiting = Waiting(timeout)
        while True:
            span_s = waiting.span_s()
            try:
                answer = await self._call(
                    self._stubs.operations.WaitOperation,
                    self._requests.wait(operation, span_s),
                    timeout_s=span_s + self._target.timeout_s,
                )
            except HmsactError as error:
                await asyncio.sleep(waiting.lost_s(error))
                continue
            waiting.regained()
            reached = AsyncOperation(answer.operation, self, is_whole=bool(answer.operation.items))
            if reached.is_final or waiting.is_over():
                return reached if answer.operation.items else await self.get(operation)

    async def operations(
        self, *, order_by: OrderBy | None = None, limit: int | None = None, **wanted: Unpack[Wanted]
    ) -> AsyncIterator[AsyncOperation]:
        """Operations for which everything that is said holds, the newest first, fetched page by page as they are read.

        What can be said is in hmsact.wanted: state="stalled", service="IRS", labels={"office": "east"}, text="roe",
        since=… and more. `order_by` is a time such as "end_time desc", `limit` the most to return.
        """
        token, left = "", limit
        while left is None or left > 0:
            size = PAGE_SIZE if left is None else min(left, PAGE_SIZE)
            request = self._requests.list(wanted, order_by, size, token)
            page = await self._call(self._stubs.operations.ListOperations, request)
            for summary in page.operations:
                yield AsyncOperation(summary, self, is_whole=False)
            token = page.next_page_token
            if not token:
                return
            left = None if left is None else left - len(page.operations)

    async def count(self, **wanted: Unpack[Wanted]) -> int:
        """How many operations `operations` would return, or, where those are very many, how many at least."""
        return (await self.counted(**wanted)).count

    async def counted(self, group_by: GroupBy | None = None, **wanted: Unpack[Wanted]) -> Counted:
        """How many operations there are, whether that is exact, and how many of each state, name, role or service."""
        return counted_of(
            await self._call(self._stubs.operations.CountOperations, self._requests.count(wanted, group_by))
        )

    async def pause(
        self,
        operation: str | OperationFacts,
        reason: str | None = None,
        *,
        clock: Clock | None = None,
        expected_revision: int = 0,
        request_id: str | None = None,
    ) -> Recorded:
        """Freezes an operation at its current step. With clock="stop" its own SLA stops, too; that needs a reason."""
        request = self._requests.pause(operation, reason, clock, expected_revision, request_id)
        return await self._change(self._stubs.operations.PauseOperation, request)

    async def resume(
        self,
        operation: str | OperationFacts,
        reason: str | None = None,
        *,
        expected_revision: int = 0,
        request_id: str | None = None,
    ) -> Recorded:
        """Lets a paused operation go on."""
        request = self._requests.resume(operation, reason, expected_revision, request_id)
        return await self._change(self._stubs.operations.ResumeOperation, request)

    async def cancel(
        self,
        operation: str | OperationFacts,
        reason: str | None = None,
        *,
        expected_revision: int = 0,
        request_id: str | None = None,
    ) -> Recorded:
        """Ends an operation; no further work is done."""
        request = self._requests.cancel(operation, reason, expected_revision, request_id)
        return await self._change(self._stubs.operations.CancelOperation, request)

    async def retry(
        self,
        operation: str | OperationFacts,
        step: str,
        reason: str | None = None,
        *,
        expected_revision: int = 0,
        request_id: str | None = None,
    ) -> Recorded:
        """Gives a stalled step fresh retries."""
        request = self._requests.retry(operation, step, reason, expected_revision, request_id)
        return await self._change(self._stubs.operations.RetryStep, request)

    async def skip(
        self,
        operation: str | OperationFacts,
        step: str,
        reason: str,
        *,
        expected_revision: int = 0,
        request_id: str | None = None,
    ) -> Recorded:
        """Leaves a stalled step out, for a reason; later steps read null for its output."""
        request = self._requests.skip(operation, step, reason, expected_revision, request_id)
        return await self._change(self._stubs.operations.SkipStep, request)

    # -- many operations at once ---------------------------------------------------------------------------------------

    async def cancel_many(
        self,
        operations: Iterable[str | OperationFacts] | None = None,
        *,
        reason: str | None = None,
        everything: bool = False,
        count_max: int | None = None,
        dry_run: bool = False,
        request_id: str | None = None,
        **wanted: Unpack[Wanted],
    ) -> AsyncJob:
        """Ends many operations, in the background; see Orchestrator.cancel_many."""
        request = self._requests.many(
            "CancelOperations",
            operations,
            wanted,
            reason,
            None,
            request_id,
            everything=everything,
            count_max=count_max,
            dry_run=dry_run,
        )
        return AsyncJob((await self._call(self._stubs.jobs.CancelOperations, request)).job, self)

    async def pause_many(
        self,
        operations: Iterable[str | OperationFacts] | None = None,
        *,
        reason: str | None = None,
        clock: Clock | None = None,
        everything: bool = False,
        count_max: int | None = None,
        dry_run: bool = False,
        request_id: str | None = None,
        **wanted: Unpack[Wanted],
    ) -> AsyncJob:
        """Freezes many operations at their current steps, in the background; see `cancel_many`, and `pause` of one."""
        request = self._requests.many(
            "PauseOperations",
            operations,
            wanted,
            reason,
            clock,
            request_id,
            everything=everything,
            count_max=count_max,
            dry_run=dry_run,
        )
        return AsyncJob((await self._call(self._stubs.jobs.PauseOperations, request)).job, self)

    async def resume_many(
        self,
        operations: Iterable[str | OperationFacts] | None = None,
        *,
        reason: str | None = None,
        everything: bool = False,
        count_max: int | None = None,
        dry_run: bool = False,
        request_id: str | None = None,
        **wanted: Unpack[Wanted],
    ) -> AsyncJob:
        """Lets many paused operations go on, in the background; see `cancel_many`."""
        request = self._requests.many(
            "ResumeOperations",
            operations,
            wanted,
            reason,
            None,
            request_id,
            everything=everything,
            count_max=count_max,
            dry_run=dry_run,
        )
        return AsyncJob((await self._call(self._stubs.jobs.ResumeOperations, request)).job, self)

    async def retry_many(
        self,
        operations: Iterable[str | OperationFacts] | None = None,
        *,
        reason: str | None = None,
        everything: bool = False,
        count_max: int | None = None,
        dry_run: bool = False,
        request_id: str | None = None,
        **wanted: Unpack[Wanted],
    ) -> AsyncJob:
        """Gives the stalled steps of many operations fresh retries, in the background; see `cancel_many`."""
        request = self._requests.many(
            "RetryOperations",
            operations,
            wanted,
            reason,
            None,
            request_id,
            everything=everything,
            count_max=count_max,
            dry_run=dry_run,
        )
        return AsyncJob((await self._call(self._stubs.jobs.RetryOperations, request)).job, self)

    async def job(self, job: str | JobFacts) -> AsyncJob:
        """Fetches a job by its id. Raises NotFound."""
        return AsyncJob((await self._call(self._stubs.jobs.GetJob, self._requests.job(job))).job, self)

    async def jobs(self, *, limit: int | None = None) -> AsyncIterator[AsyncJob]:
        """Jobs of the namespace, the newest first, fetched page by page as they are read."""
        token, left = "", limit
        while left is None or left > 0:
            size = PAGE_SIZE if left is None else min(left, PAGE_SIZE)
            page = await self._call(self._stubs.jobs.ListJobs, self._requests.jobs(size, token))
            for message in page.jobs:
                yield AsyncJob(message, self)
            token = page.next_page_token
            if not token:
                return
            left = None if left is None else left - len(page.jobs)

    async def job_results(self, job: str | JobFacts, outcome: Outcome | None = None) -> AsyncIterator[JobResult]:
        """What became of each operation of a job, in the order of their turns; of one outcome, or all."""
        token = ""
        while True:
            request = self._requests.job_results(job, outcome, PAGE_SIZE, token)
            page = await self._call(self._stubs.jobs.ListJobResults, request)
            for message in page.results:
                yield result_of(message)
            token = page.next_page_token
            if not token:
                return

    async def watch_job(
        self,
        job: str | JobFacts,
        timeout: Duration | float | None = None,  # noqa: ASYNC109 - as the blocking twin has it
    ) -> AsyncIterator[AsyncJob]:
        """A job, again whenever it has come further, until it has ended or the time is up. Raises NotFound.

        When the daemon is away for a while, this waits and goes on.
        """
        waiting = Waiting(timeout)
        while not waiting.is_over():
            stream = self._stubs.jobs.WatchJob(
                self._requests.watch_job(job), timeout=waiting.left_s(), metadata=self._target.metadata
            )
            try:
                async for frame in stream:
                    waiting.regained()
                    yield AsyncJob(frame.job, self)
                return
            except grpc.RpcError as failure:
                error = error_of(failure, self.address)
                if isinstance(error, DeadlineExceeded):
                    # Of this stream that is the end of the caller's time, by whichever of two clocks comes first.
                    return
                delay_s = waiting.lost_s(error)
            finally:
                stream.cancel()
            await asyncio.sleep(delay_s)

    async def cancel_job(
        self, job: str | JobFacts, reason: str | None = None, *, request_id: str | None = None
    ) -> AsyncJob:
        """Ends a job; what it has done stays done. Raises PreconditionFailed if it has ended otherwise before."""
        request = self._requests.cancel_job(job, reason, request_id)
        return AsyncJob((await self._call(self._stubs.jobs.CancelJob, request)).job, self)

    # -- deferred steps ------------------------------------------------------------------------------------------------

    async def complete_step(self, token: str, output: object = None, *, request_id: str | None = None) -> CompletedStep:
        """Says that a deferred step is done, with the token that `call.defer()` returned; once, from any process."""
        request = self._requests.complete_step(token, output, request_id)
        return completed_of(await self._call(self._stubs.workers.CompleteStep, request))

    async def fail_step(
        self,
        token: str,
        message: str,
        *,
        retryable: bool = True,
        code: str | None = None,
        retry_after: Duration | None = None,
        request_id: str | None = None,
    ) -> CompletedStep:
        """Says that a deferred step has failed: why, for people, and in UPPER_SNAKE for machines."""
        request = self._requests.fail_step(token, message, code, retry_after, request_id, retryable=retryable)
        return completed_of(await self._call(self._stubs.workers.CompleteStep, request))

    # -- checkpoints ---------------------------------------------------------------------------------------------------

    async def inbox(self, role: str | None = None, *, limit: int = 1000) -> list[Pending]:
        """Decisions that wait for somebody, the longest waiting first: of a role, or of every role that you have."""
        pending: list[Pending] = []
        token = ""
        while len(pending) < limit:
            size = min(limit - len(pending), PAGE_SIZE)
            page = await self._call(self._stubs.checkpoints.ListCheckpoints, self._requests.inbox(role, size, token))
            pending += map(pending_of, page.checkpoints)
            token = page.next_page_token
            if not token:
                break
        return pending

    async def shown(self, operation: str | OperationFacts, checkpoint: str | None = None) -> Shown:
        """What is shown to whoever decides a checkpoint; without a name, the pending one."""
        request = self._requests.shown(operation, checkpoint)
        return Shown(await self._call(self._stubs.checkpoints.GetCheckpoint, request))

    async def approve(
        self,
        operation: str | OperationFacts,
        checkpoint: str,
        comment: str | None = None,
        seen: str | Shown | None = None,
        *,
        request_id: str | None = None,
    ) -> Recorded:
        """Approves a pending checkpoint."""
        request = self._requests.approve(operation, checkpoint, comment, seen, request_id)
        return await self._change(self._stubs.checkpoints.ApproveCheckpoint, request)

    async def reject(
        self,
        operation: str | OperationFacts,
        checkpoint: str,
        comment: str | None = None,
        seen: str | Shown | None = None,
        *,
        request_id: str | None = None,
    ) -> Recorded:
        """Rejects a pending checkpoint, which ends the operation; arguments and errors as of `approve`."""
        request = self._requests.reject(operation, checkpoint, comment, seen, request_id)
        return await self._change(self._stubs.checkpoints.RejectCheckpoint, request)

    async def claim(
        self,
        operation: str | OperationFacts,
        checkpoint: str,
        reason: str | None = None,
        *,
        request_id: str | None = None,
    ) -> Recorded:
        """Takes a pending decision on, so that others see it."""
        request = self._requests.claim(operation, checkpoint, reason, request_id)
        return await self._change(self._stubs.checkpoints.ClaimCheckpoint, request)

    async def release(
        self,
        operation: str | OperationFacts,
        checkpoint: str,
        reason: str | None = None,
        *,
        request_id: str | None = None,
    ) -> Recorded:
        """Gives a claim of your own back."""
        request = self._requests.release(operation, checkpoint, reason, request_id)
        return await self._change(self._stubs.checkpoints.ReleaseCheckpoint, request)

    async def assign(
        self,
        operation: str | OperationFacts,
        checkpoint: str,
        assignee: str,
        reason: str | None = None,
        *,
        request_id: str | None = None,
    ) -> Recorded:
        """Assigns a pending decision to a person, "issuer:subject", who must hold the role."""
        request = self._requests.assign(operation, checkpoint, assignee, reason, request_id)
        return await self._change(self._stubs.checkpoints.AssignCheckpoint, request)

    # -- timelines -----------------------------------------------------------------------------------------------------

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

    def stream(
        self,
        *,
        after: str | Event | None = None,
        since: datetime | Duration | None = None,
        from_start: bool = False,
        all: bool = False,  # noqa: A002 - the word of the contract
        kinds: str | Iterable[str] = (),
        names: str | Iterable[str] = (),
        operations: Iterable[str | OperationFacts] = (),
        items: str | Iterable[str] = (),
        by: str | Iterable[str] = (),
        follow: bool = True,
        payloads: bool = False,
        records: bool = False,
        prove: bool = False,
        key: str | None = None,
        seal: str | None = None,
    ) -> AsyncEventStream:
        """The events of all operations of the namespace, in the order of the log; see Orchestrator.stream."""
        choice = choice_of(all, kinds, names, operations, items, by, follow=follow, payloads=payloads, records=records)
        place = Place(
            self._requests,
            choice,
            start_of(after, since, from_start=from_start),
            demand_of(key, seal, prove=prove),
            namespace=self.namespace,
            address=self.address,
        )
        return AsyncEventStream(
            place,
            lambda request: self._stubs.timelines.WatchEvents(request, metadata=self._target.metadata),
            self.info,
            self.address,
        )

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

    # -- the daemon ----------------------------------------------------------------------------------------------------

    async def whoami(self) -> Identity:
        """Who you are to the daemon, and what you may do."""
        return identity_of(await self._call(self._stubs.system.Whoami, system_pb2.WhoamiRequest()))

    async def info(self) -> SystemInfo:
        """What the daemon is: its version, its log and the key that seals it, its bounds."""
        return system_info_of(await self._call(self._stubs.system.GetSystemInfo, system_pb2.GetSystemInfoRequest()))

    @property
    def _stubs(self) -> _Stubs:
        # Not in the constructor: a channel of grpc.aio belongs to the loop that runs when it is made.
        if self._connected is None:
            self._connected = _Stubs(self._target)
        return self._connected

    async def _reader(self, operation: str | OperationFacts) -> Reader:
        return Reader((await self._call(self._stubs.operations.GetOperation, self._requests.get(operation))).operation)

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

    def __init__(self, target: Target) -> None:
        if target.credentials is None:
            self.channel = aio.insecure_channel(target.address, target.options)
        else:
            self.channel = aio.secure_channel(target.address, target.credentials, target.options)
        self.operations = operation_pb2_grpc.OperationServiceStub(self.channel)
        self.checkpoints = checkpoint_pb2_grpc.CheckpointServiceStub(self.channel)
        self.jobs = job_pb2_grpc.JobServiceStub(self.channel)
        self.timelines = timeline_pb2_grpc.TimelineServiceStub(self.channel)
        self.system = system_pb2_grpc.SystemServiceStub(self.channel)
        self.workers = worker_pb2_grpc.WorkerServiceStub(self.channel)
