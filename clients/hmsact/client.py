"""The blocking client, on gRPC's synchronous stack. What is asked and how answers read is in other files."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

import grpc
from google.protobuf.message import Message

from hmsact import bulk, flow
from hmsact.account import Account
from hmsact.choice import choice_of, start_of
from hmsact.connect import TIMEOUT, Tls, target
from hmsact.counted import Counted, counted_of
from hmsact.duration import Duration
from hmsact.errors import DeadlineExceeded, HmsactError
from hmsact.event import Event, Reader
from hmsact.inbox import Pending, Shown, pending_of
from hmsact.job import Job, JobFacts, JobResult, Outcome, result_of
from hmsact.many import Item, Many, Start, StartResult
from hmsact.operation import Operation, OperationFacts
from hmsact.place import Place, demand_of
from hmsact.principal import Identity, identity_of
from hmsact.recorded import CompletedStep, Recorded, completed_of, recorded_of
from hmsact.requests import PAGE_SIZE, Clock, KeyPolicy, Requests
from hmsact.status import error_of
from hmsact.stream import EventStream
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


class Orchestrator:
    """Starts operations, watches them and steers them.

    `address` is the daemon's HOST:PORT (else HMSACT_ADDRESS, else 127.0.0.1:7400). `token` says who is calling (else
    HMSACT_TOKEN; "" is nobody in particular). `tls` says how the connection is encrypted: None is everywhere but on
    this machine; or True, False, the path of a PEM file of authorities (else HMSACT_CA), or gRPC's channel credentials.
    `namespace` is where to work (else HMSACT_NAMESPACE, else "default"), and `timeout` bounds one call.

    It connects when it is first used, may be used from several threads, and repeats a call that does not reach the
    daemon; calls that change something carry a request id, so that a repeat is never a second time. Lengths of time are
    texts ("500ms", "2m", "1h30m"), timedeltas or, for timeouts, numbers of seconds. Wherever an operation is asked
    for, its id will do. Errors are those of hmsact.errors: Unavailable, Unauthenticated, Refused and DeadlineExceeded
    from any call, others where they are named.
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
        if self._target.credentials is None:
            self._channel = grpc.insecure_channel(self._target.address, self._target.options)
        else:
            self._channel = grpc.secure_channel(self._target.address, self._target.credentials, self._target.options)
        self._operations = operation_pb2_grpc.OperationServiceStub(self._channel)
        self._checkpoints = checkpoint_pb2_grpc.CheckpointServiceStub(self._channel)
        self._jobs = job_pb2_grpc.JobServiceStub(self._channel)
        self._timelines = timeline_pb2_grpc.TimelineServiceStub(self._channel)
        self._system = system_pb2_grpc.SystemServiceStub(self._channel)
        self._workers = worker_pb2_grpc.WorkerServiceStub(self._channel)
        self._requests = Requests(self._target.namespace)

    @property
    def address(self) -> str:
        """The address of the daemon."""
        return self._target.address

    @property
    def namespace(self) -> str:
        """The namespace it works in."""
        return self._target.namespace

    def close(self) -> None:
        """Closes the connection. Streams that are still read end with Unavailable."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Orchestrator {self.address}, namespace {self.namespace}>"

    # -- operations ----------------------------------------------------------------------------------------------------

    def start(
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
    ) -> Operation:
        """Starts an operation; it has been recorded when this returns.

        `name` names the flow and `steps` is a list of Step and Checkpoint, or a whole definition as a mapping (then its
        name will do). `input` is any value that JSON has. `key` is a business key such as a case number, `key_policy`
        what to do when it is taken; `labels` are to find it by. `request_id` makes a start of your own safe to repeat
        (one is made up otherwise). `requested_by` says for whom it is, as you assert it; `sla` bounds the whole.

        Raises InvalidArgument with every fault of the definition, each with its JSON pointer, and AlreadyExists when
        the key is taken.
        """
        request = self._requests.start(
            name, steps, input, key, key_policy, labels, request_id, reason, requested_by, sla
        )
        answer = self._call(self._operations.StartOperation, request)
        operation = Operation(self._requests.started(request, answer), self, is_whole=False)
        operation.recorded = recorded_of(answer.recorded)
        # The open operation that has the key may be of another name.
        return operation.refresh() if key_policy == "return_open" else operation

    def start_many(
        self,
        items: Iterable[Item],
        *,
        name: str | None = None,
        steps: flow.Steps | None = None,
        key_policy: KeyPolicy | None = None,
        labels: Mapping[str, str] | None = None,
        request_id: str | None = None,
        reason: str | None = None,
        requested_by: str | None = None,
        sla: Duration | None = None,
    ) -> Iterator[StartResult[Operation]]:
        """Starts many operations, by the same flow or by flows of their own, and gives a result for each, in order.

        `items` is anything that can be iterated over: each is a Start, or its fields by name, as in
        {"input": {"income": 41250}, "key": "case-7"}. They are taken as they are needed, so that millions cost no
        more memory than a thousand. `name`, `steps`, `sla`, `key_policy`, `reason` and `requested_by` are for all
        that say no other, `labels` are added to each one's own. With a `request_id` of yours, item n (from 1) is
        sent as "REQUEST_ID-n", so that the whole run is safe to repeat: what was started before is not started again.

        A result has either an `operation` or an `error`; what is wrong with one item does not touch the others. It
        connects again by itself and sends again what has no result; while the daemon takes no starts it waits for as
        long as that asks, ten minutes at most. What your items raise is raised when all that came before has its
        result. Whoever stops early may have started more than they saw.
        """
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
        many = Many(self._requests, common, lambda message: Operation(message, self, is_whole=False), self.address)
        return bulk.run(
            many,
            items,
            lambda messages: self._operations.StartOperations(messages, metadata=self._target.metadata),
            self.address,
        )

    def get(self, operation: str | OperationFacts) -> Operation:
        """Fetches an operation by its id, or by any part of the id that no other has. Raises NotFound."""
        answer = self._call(self._operations.GetOperation, self._requests.get(operation))
        return Operation(answer.operation, self, is_whole=True)

    def wait(self, operation: str | OperationFacts, timeout: Duration | float | None = None) -> Operation:
        """Waits until an operation is final, or until the time is up, and returns it; see Operation.wait."""
        waiting = Waiting(timeout)
        while True:
            span_s = waiting.span_s()
            try:
                answer = self._call(
                    self._operations.WaitOperation,
                    self._requests.wait(operation, span_s),
                    timeout_s=span_s + self._target.timeout_s,
                )
            except HmsactError as error:
                time.sleep(waiting.lost_s(error))
                continue
            waiting.regained()
            reached = Operation(answer.operation, self, is_whole=bool(answer.operation.items))
            if reached.is_final or waiting.is_over():
                return reached

    def operations(
        self, *, order_by: OrderBy | None = None, limit: int | None = None, **wanted: Unpack[Wanted]
    ) -> Iterator[Operation]:
        """Operations for which everything that is said holds, the newest first, fetched page by page as they are read.

        What can be said is in hmsact.wanted: state="stalled", service="IRS", labels={"office": "east"}, text="roe",
        since=… and more. `order_by` is a time such as "end_time desc", `limit` the most to return.
        """
        token, left = "", limit
        while left is None or left > 0:
            size = PAGE_SIZE if left is None else min(left, PAGE_SIZE)
            request = self._requests.list(wanted, order_by, size, token)
            page = self._call(self._operations.ListOperations, request)
            for summary in page.operations:
                yield Operation(summary, self, is_whole=False)
            token = page.next_page_token
            if not token:
                return
            left = None if left is None else left - len(page.operations)

    def count(self, **wanted: Unpack[Wanted]) -> int:
        """How many operations `operations` would return, or, where those are very many, how many at least."""
        return self.counted(**wanted).count

    def counted(self, group_by: GroupBy | None = None, **wanted: Unpack[Wanted]) -> Counted:
        """How many operations there are, whether that is exact, and how many of each state, name, role or service."""
        return counted_of(self._call(self._operations.CountOperations, self._requests.count(wanted, group_by)))

    def pause(
        self,
        operation: str | OperationFacts,
        reason: str | None = None,
        *,
        clock: Clock | None = None,
        expected_revision: int = 0,
        request_id: str | None = None,
    ) -> Recorded:
        """Freezes an operation at its current step. With clock="stop" its own SLA stops, too; that needs a reason.

        `expected_revision` is that of the flow you have seen; 0 is any. Raises PreconditionFailed, Aborted.
        """
        request = self._requests.pause(operation, reason, clock, expected_revision, request_id)
        return self._change(self._operations.PauseOperation, request)

    def resume(
        self,
        operation: str | OperationFacts,
        reason: str | None = None,
        *,
        expected_revision: int = 0,
        request_id: str | None = None,
    ) -> Recorded:
        """Lets a paused operation go on. Raises PreconditionFailed, Aborted."""
        request = self._requests.resume(operation, reason, expected_revision, request_id)
        return self._change(self._operations.ResumeOperation, request)

    def cancel(
        self,
        operation: str | OperationFacts,
        reason: str | None = None,
        *,
        expected_revision: int = 0,
        request_id: str | None = None,
    ) -> Recorded:
        """Ends an operation; no further work is done. Raises PreconditionFailed, Aborted."""
        request = self._requests.cancel(operation, reason, expected_revision, request_id)
        return self._change(self._operations.CancelOperation, request)

    def retry(
        self,
        operation: str | OperationFacts,
        step: str,
        reason: str | None = None,
        *,
        expected_revision: int = 0,
        request_id: str | None = None,
    ) -> Recorded:
        """Gives a stalled step fresh retries. Raises PreconditionFailed if it is not stalled."""
        request = self._requests.retry(operation, step, reason, expected_revision, request_id)
        return self._change(self._operations.RetryStep, request)

    def skip(
        self,
        operation: str | OperationFacts,
        step: str,
        reason: str,
        *,
        expected_revision: int = 0,
        request_id: str | None = None,
    ) -> Recorded:
        """Leaves a stalled step out, for a reason; later steps read null for its output.

        Raises PreconditionFailed if it is not stalled, Refused for whoever started the operation.
        """
        request = self._requests.skip(operation, step, reason, expected_revision, request_id)
        return self._change(self._operations.SkipStep, request)

    # -- many operations at once ---------------------------------------------------------------------------------------

    def cancel_many(
        self,
        operations: Iterable[str | OperationFacts] | None = None,
        *,
        reason: str | None = None,
        everything: bool = False,
        count_max: int | None = None,
        dry_run: bool = False,
        request_id: str | None = None,
        **wanted: Unpack[Wanted],
    ) -> Job:
        """Ends many operations, in the background: those for which everything that is said holds, or those named.

        What can be said is that of `operations`; `operations` are up to 10,000 ids, and everything=True means all of
        the namespace. Those that cannot be cancelled do not count as matching; one that was started later is not
        touched, nor one that no longer matches when its turn comes. `reason` is recorded with each. With `count_max`
        it is refused if more match; with `dry_run` it only says how many would be `expected`.

        Returns the job as soon as it is on the record: `job.wait()`, `job.progress()`, `job.results()`. It acts in your
        name and goes on where it was when the daemon has been away. Raises PreconditionFailed (MORE_MATCH),
        ResourceExhausted if too many jobs are open.
        """
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
        return Job(self._call(self._jobs.CancelOperations, request).job, self)

    def pause_many(
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
    ) -> Job:
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
        return Job(self._call(self._jobs.PauseOperations, request).job, self)

    def resume_many(
        self,
        operations: Iterable[str | OperationFacts] | None = None,
        *,
        reason: str | None = None,
        everything: bool = False,
        count_max: int | None = None,
        dry_run: bool = False,
        request_id: str | None = None,
        **wanted: Unpack[Wanted],
    ) -> Job:
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
        return Job(self._call(self._jobs.ResumeOperations, request).job, self)

    def retry_many(
        self,
        operations: Iterable[str | OperationFacts] | None = None,
        *,
        reason: str | None = None,
        everything: bool = False,
        count_max: int | None = None,
        dry_run: bool = False,
        request_id: str | None = None,
        **wanted: Unpack[Wanted],
    ) -> Job:
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
        return Job(self._call(self._jobs.RetryOperations, request).job, self)

    def job(self, job: str | JobFacts) -> Job:
        """Fetches a job by its id. Raises NotFound."""
        return Job(self._call(self._jobs.GetJob, self._requests.job(job)).job, self)

    def jobs(self, *, limit: int | None = None) -> Iterator[Job]:
        """Jobs of the namespace, the newest first, fetched page by page as they are read."""
        token, left = "", limit
        while left is None or left > 0:
            size = PAGE_SIZE if left is None else min(left, PAGE_SIZE)
            page = self._call(self._jobs.ListJobs, self._requests.jobs(size, token))
            for message in page.jobs:
                yield Job(message, self)
            token = page.next_page_token
            if not token:
                return
            left = None if left is None else left - len(page.jobs)

    def job_results(self, job: str | JobFacts, outcome: Outcome | None = None) -> Iterator[JobResult]:
        """What became of each operation of a job, in the order of their turns; of one outcome, or all."""
        token = ""
        while True:
            request = self._requests.job_results(job, outcome, PAGE_SIZE, token)
            page = self._call(self._jobs.ListJobResults, request)
            for message in page.results:
                yield result_of(message)
            token = page.next_page_token
            if not token:
                return

    def watch_job(self, job: str | JobFacts, timeout: Duration | float | None = None) -> Iterator[Job]:
        """A job, again whenever it has come further, until it has ended or the time is up. Raises NotFound.

        When the daemon is away for a while, this waits and goes on.
        """
        waiting = Waiting(timeout)
        while not waiting.is_over():
            stream = self._jobs.WatchJob(
                self._requests.watch_job(job), timeout=waiting.left_s(), metadata=self._target.metadata
            )
            try:
                for frame in stream:
                    waiting.regained()
                    yield Job(frame.job, self)
                return
            except grpc.RpcError as failure:
                error = error_of(failure, self.address)
                if isinstance(error, DeadlineExceeded):
                    # Of this stream that is the end of the caller's time, by whichever of two clocks comes first.
                    return
                delay_s = waiting.lost_s(error)
            finally:
                stream.cancel()
            time.sleep(delay_s)

    def cancel_job(self, job: str | JobFacts, reason: str | None = None, *, request_id: str | None = None) -> Job:
        """Ends a job; what it has done stays done. Raises PreconditionFailed if it has ended otherwise before."""
        request = self._requests.cancel_job(job, reason, request_id)
        return Job(self._call(self._jobs.CancelJob, request).job, self)

    # -- deferred steps ------------------------------------------------------------------------------------------------

    def complete_step(self, token: str, output: object = None, *, request_id: str | None = None) -> CompletedStep:
        """Says that a deferred step is done, with the token that `call.defer()` returned; once, from any process.

        `output` is any value that JSON has. You must be the service that the step is done by. Raises PreconditionFailed
        with the reason ALREADY_COMPLETED (it says when, and by whom), ATTEMPT_OVER or OPERATION_FINAL: too late, what
        you said is kept on the record and changes nothing. InvalidArgument if it is no token of this daemon; Refused.
        """
        request = self._requests.complete_step(token, output, request_id)
        return completed_of(self._call(self._workers.CompleteStep, request))

    def fail_step(
        self,
        token: str,
        message: str,
        *,
        retryable: bool = True,
        code: str | None = None,
        retry_after: Duration | None = None,
        request_id: str | None = None,
    ) -> CompletedStep:
        """Says that a deferred step has failed: why, for people, and in UPPER_SNAKE for machines; errors as above.

        With retryable=False another attempt would be of no use, and the operation fails; `retry_after` is how long the
        service asks to be left alone.
        """
        request = self._requests.fail_step(token, message, code, retry_after, request_id, retryable=retryable)
        return completed_of(self._call(self._workers.CompleteStep, request))

    # -- checkpoints ---------------------------------------------------------------------------------------------------

    def inbox(self, role: str | None = None, *, limit: int = 1000) -> list[Pending]:
        """Decisions that wait for somebody, the longest waiting first: of a role, or of every role that you have."""
        pending: list[Pending] = []
        token = ""
        while len(pending) < limit:
            size = min(limit - len(pending), PAGE_SIZE)
            page = self._call(self._checkpoints.ListCheckpoints, self._requests.inbox(role, size, token))
            pending += map(pending_of, page.checkpoints)
            token = page.next_page_token
            if not token:
                break
        return pending

    def shown(self, operation: str | OperationFacts, checkpoint: str | None = None) -> Shown:
        """What is shown to whoever decides a checkpoint; without a name, the pending one. Raises NotFound."""
        return Shown(self._call(self._checkpoints.GetCheckpoint, self._requests.shown(operation, checkpoint)))

    def approve(
        self,
        operation: str | OperationFacts,
        checkpoint: str,
        comment: str | None = None,
        seen: str | Shown | None = None,
        *,
        request_id: str | None = None,
    ) -> Recorded:
        """Approves a pending checkpoint.

        `seen` is what you were shown (from `shown`), or its digest in hex; without it the decision is recorded as
        unseen. Raises Refused if you may not decide, PreconditionFailed if it is not pending or has changed since.
        """
        request = self._requests.approve(operation, checkpoint, comment, seen, request_id)
        return self._change(self._checkpoints.ApproveCheckpoint, request)

    def reject(
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
        return self._change(self._checkpoints.RejectCheckpoint, request)

    def claim(
        self,
        operation: str | OperationFacts,
        checkpoint: str,
        reason: str | None = None,
        *,
        request_id: str | None = None,
    ) -> Recorded:
        """Takes a pending decision on, so that others see it. Raises Refused, PreconditionFailed."""
        request = self._requests.claim(operation, checkpoint, reason, request_id)
        return self._change(self._checkpoints.ClaimCheckpoint, request)

    def release(
        self,
        operation: str | OperationFacts,
        checkpoint: str,
        reason: str | None = None,
        *,
        request_id: str | None = None,
    ) -> Recorded:
        """Gives a claim of your own back. Raises PreconditionFailed."""
        request = self._requests.release(operation, checkpoint, reason, request_id)
        return self._change(self._checkpoints.ReleaseCheckpoint, request)

    def assign(
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
        return self._change(self._checkpoints.AssignCheckpoint, request)

    # -- timelines -----------------------------------------------------------------------------------------------------

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
            stream = self._timelines.WatchOperation(watch.request(), metadata=self._target.metadata)
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
    ) -> EventStream:
        """The events of all operations of the namespace, in the order of the log: an iterator that does not end.

        It begins with the next event; or `after` an event or a cursor of an earlier stream with the same filter; or
        `since` a time, or a length of time ago; or at the beginning, with `from_start`. Without `all` and `kinds` it
        tells the narrated kinds. `names` are those of definitions, `items` of steps and checkpoints, `by` kinds of
        principals ("person", "service", "agent", "system"): all that is said must hold. With follow=False it ends after
        what is recorded now; `payloads` adds what was said, `records` the records as they stand on disk.

        It goes on by itself when the daemon was away, without gap or repetition; `cursor` is where to resume.

        With `prove` it checks that nothing was left out, changed, repeated or moved, and gives an event out only when a
        seal of the daemon proves it; else it raises NotProved, which names the position. `key` is the verifier key
        that you trust (without it, the one that the daemon says it has), `seal` a seal that you have kept: the log must
        have grown from it. Of what a filter withholds it proves that it is there, and not what it is.

        The iterator raises InvalidArgument, and PreconditionFailed with the reason CURSOR_AHEAD or CURSOR_DIVERGED if
        the daemon was restored to a state from before the cursor.
        """
        choice = choice_of(all, kinds, names, operations, items, by, follow=follow, payloads=payloads, records=records)
        place = Place(
            self._requests,
            choice,
            start_of(after, since, from_start=from_start),
            demand_of(key, seal, prove=prove),
            namespace=self.namespace,
            address=self.address,
        )
        return EventStream(
            place,
            lambda request: self._timelines.WatchEvents(request, metadata=self._target.metadata),
            self.info,
            self.address,
        )

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
            self._call(self._timelines.ExplainOperation, self._requests.explain(operation, time_zone)).account
        )

    def export(self, operation: str | OperationFacts, *, earlier_sizes: Sequence[int] = ()) -> bytes:
        """The timeline of an operation with its proofs, as a file that `hmsact verify` reads. Raises NotFound.

        `earlier_sizes` are the sizes of the log that seals kept elsewhere name (those of receipts, say): the file then
        proves that the log has only grown since, and `verify(head=SEAL)` accepts it.
        """
        stream = self._timelines.ExportOperation(
            self._requests.export(operation, earlier_sizes), metadata=self._target.metadata
        )
        try:
            return b"".join(part.part for part in stream)
        except grpc.RpcError as failure:
            raise error_of(failure, self.address) from None

    # -- the daemon ----------------------------------------------------------------------------------------------------

    def whoami(self) -> Identity:
        """Who you are to the daemon, and what you may do."""
        return identity_of(self._call(self._system.Whoami, system_pb2.WhoamiRequest()))

    def info(self) -> SystemInfo:
        """What the daemon is: its version, its log and the key that seals it, its bounds."""
        return system_info_of(self._call(self._system.GetSystemInfo, system_pb2.GetSystemInfoRequest()))

    def _reader(self, operation: str | OperationFacts) -> Reader:
        return Reader(self._call(self._operations.GetOperation, self._requests.get(operation)).operation)

    def _change(self, method: Callable[..., Any], request: Message) -> Recorded:
        return recorded_of(self._call(method, request).recorded)

    def _call(self, method: Callable[..., Response], request: Message, *, timeout_s: float | None = None) -> Response:
        try:
            return method(request, timeout=timeout_s or self._target.timeout_s, metadata=self._target.metadata)
        except grpc.RpcError as failure:
            raise error_of(failure, self.address) from None
