"""`WorkerService`: the stream of a worker. Reads what it says, sends what its session has for it, in batches."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Any

import anyio
from grpc import aio
from hmsact.v1 import worker_pb2 as pb
from hmsact.v1 import worker_pb2_grpc

from hmsactd.core.inputs import StepErred, StepSucceeded
from hmsactd.core.payload import Payload
from hmsactd.engine.session import AttemptKey, Call, Outbox, Session, Verdict
from hmsactd.errors import HmsactdError, InvalidArgument, PermissionDenied, Unavailable, Violation
from hmsactd.rpc.caller import caller
from hmsactd.rpc.desk import Checked, Desk, check
from hmsactd.rpc.patience import Patience
from hmsactd.rpc.times import duration, span_ms, timestamp
from hmsactd.timeline.payloads import NotJson, TooDeep, TooLarge, commit, commit_words

Context = aio.ServicerContext[Any, Any]

NAME = re.compile(r"[a-z][a-z0-9_]*")
SVC = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*")
CODE = re.compile(r"[A-Z][A-Z0-9_]{0,63}")

ID_MAX = 64

CALLS_SENT_MAX_BYTES = 2 * 1024 * 1024
"""Calls that travel in one message: half of what a message may have."""

VERDICTS = {
    "recorded": pb.VERDICT_KIND_RECORDED,
    "stale": pb.VERDICT_KIND_STALE,
    "refused": pb.VERDICT_KIND_REFUSED,
    "again": pb.VERDICT_KIND_AGAIN,
}


class WorkerServicer(worker_pb2_grpc.WorkerServiceServicer):
    """Gives calls to workers and takes their reports."""

    def __init__(self, desk: Desk, patience: Patience) -> None:
        self._desk = desk
        self._patience = patience

    async def Work(self, request_iterator: Any, context: Context) -> AsyncIterator[pb.WorkResponse]:
        requests: AsyncIterator[pb.WorkRequest] = request_iterator.__aiter__()
        try:
            first = await anext(requests)
        except StopAsyncIteration:
            raise InvalidArgument([_no_hello()]) from None
        session, connection, welcome = self._hello(first)
        worker = _Connection(self._desk, session, connection)
        try:
            yield welcome
            worker.hear(first)
            async for response in self._converse(worker, requests):
                yield response
        finally:
            self._desk.engine.workers.goodbye(session, connection)

    async def _converse(
        self, worker: _Connection, requests: AsyncIterator[pb.WorkRequest]
    ) -> AsyncIterator[pb.WorkResponse]:
        """Send what the session has, while a task of its own reads what the worker says."""
        errors: list[HmsactdError] = []
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._read, worker, requests, errors, name=f"read {worker.session.id}")
            tasks.start_soon(self._drain, worker, name=f"drain {worker.session.id}")
            try:
                async for response in worker.responses():
                    yield response
            finally:
                tasks.cancel_scope.cancel()
        if errors:
            raise errors[0]

    async def _read(
        self, worker: _Connection, requests: AsyncIterator[pb.WorkRequest], errors: list[HmsactdError]
    ) -> None:
        try:
            async for request in requests:
                if request.HasField("hello"):
                    raise InvalidArgument([Violation("hello", "was said before: say it once", "HELLO_TWICE")])
                worker.hear(request)
        except HmsactdError as error:
            errors.append(error)
        finally:
            worker.close()

    async def _drain(self, worker: _Connection) -> None:
        await self._patience.stopping()
        worker.drain()

    # -- hello ---------------------------------------------------------------------------------------------------------

    def _hello(self, request: pb.WorkRequest) -> tuple[Session, int, pb.WorkResponse]:
        hello, settings = request.hello, self._desk.settings.workers
        if not request.HasField("hello"):
            raise InvalidArgument([_no_hello()])
        checked = self._checked(hello)
        if not self._desk.identity.may_serve(caller(), hello.svc):
            raise PermissionDenied("MAY_NOT_SERVE", f"{caller().id} may not serve {hello.svc}")
        workers = self._desk.engine.workers
        if self._patience.is_stopping:
            raise Unavailable("SHUTTING_DOWN", "the daemon is shutting down")
        session, connection, gone = workers.hello(
            caller(),
            checked.namespace,
            hello.svc,
            frozenset(hello.steps),
            min(hello.max_in_flight, settings.max_in_flight),
            hello.session,
            [_key(attempt) for attempt in hello.in_hand],
        )
        welcome = pb.Welcome(
            session=workers.ticket_of(session),
            grace=duration(settings.grace.ms),
            gone=[_attempt(checked.namespace, key) for key in gone],
            payload_max_bytes=self._desk.bounds.payload_max_bytes,
        )
        return session, connection, pb.WorkResponse(welcome=welcome)

    def _checked(self, hello: pb.Hello) -> Checked:
        """A hello with every fault it has told at once."""
        checked = check(self._desk, hello)
        bounds = checked.bounds
        if len(hello.svc) > bounds.svc_max or not SVC.fullmatch(hello.svc):
            checked.fault("hello.svc", "is not the name of a service", "BAD_NAME")
        if not hello.steps:
            checked.fault("hello.steps", "names no step", "REQUIRED")
        if len(hello.steps) > bounds.steps_max:
            checked.fault("hello.steps", f"are {len(hello.steps)}; at most {bounds.steps_max} are allowed", "TOO_MANY")
        seen: set[str] = set()
        for index, step in enumerate(hello.steps[: bounds.steps_max]):
            if len(step) > bounds.name_max or not NAME.fullmatch(step):
                checked.fault(f"hello.steps[{index}]", "is not the name of a step", "BAD_NAME")
            elif step in seen:
                checked.fault(f"hello.steps[{index}]", f"{step} is served twice", "NAME_TAKEN")
            seen.add(step)
        if hello.max_in_flight < 1:
            checked.fault("hello.max_in_flight", "is less than one call at a time", "OUT_OF_RANGE")
        checked.done()
        return checked


class _Connection:
    """One stream of a session, until it ends or another takes the session over."""

    def __init__(self, desk: Desk, session: Session, number: int) -> None:
        self.session = session
        self._number = number
        self._desk = desk
        self._workers = desk.engine.workers
        self._is_closed = False
        self._is_draining = False

    def close(self) -> None:
        self._is_closed = True
        self.session.wake()

    def drain(self) -> None:
        self._is_draining = True
        self.session.wake()

    # -- what the worker says ------------------------------------------------------------------------------------------

    def hear(self, request: pb.WorkRequest) -> None:
        if self.session.connection != self._number:
            return
        for index, report in enumerate(request.reports):
            if len(report.attempt.operation_id) > ID_MAX:
                # A verdict repeats the id, so that this one might have no room in a message.
                place = f"reports[{index}].attempt.operation_id"
                raise InvalidArgument([Violation(place, "is no operation id", "BAD_OPERATION_ID")])
            self._report(report)
        for beat in request.beats:
            self._workers.beat(self.session, _key(beat.attempt))
        if request.max_in_flight < 0:
            raise InvalidArgument([Violation("max_in_flight", "is negative", "OUT_OF_RANGE")])
        if request.max_in_flight:
            most = self._desk.settings.workers.max_in_flight
            self._workers.resize(self.session, min(request.max_in_flight, most))
        if request.leaving:
            self._workers.leaving(self.session)

    def _report(self, report: pb.Report) -> None:
        key, by = _key(report.attempt), self.session.principal
        match report.WhichOneof("outcome"):
            case "done":
                try:
                    output = self._payload(report.done.output)
                except (NotJson, TooLarge, TooDeep) as error:
                    # Trying again would give the same output: the step has failed for good, and says why.
                    sentence = f"the output was refused: {error}"
                    told = StepErred(by, key.instance, key.attempt, "BAD_OUTPUT", True, commit_words(sentence))
                    self._workers.refuse(self.session, key, told, "BAD_OUTPUT", sentence)
                    return
                self._workers.report(self.session, key, StepSucceeded(by, key.instance, key.attempt, output))
            case "failed":
                self._workers.report(self.session, key, self._failure(key, report.failed))
            case _:
                self.session.judge(Verdict(key, "refused", "NO_OUTCOME", "the report says neither done nor failed"))

    def _payload(self, text: bytes) -> Payload:
        return commit(text or b"null", self._desk.bounds.payload_max_bytes, self._desk.bounds.depth_max)

    def _failure(self, key: AttemptKey, failed: pb.Failed) -> StepErred:
        # The words of an exception may be of any length; their beginning says what went wrong.
        most = self._desk.bounds.comment_max_bytes
        words = failed.message.encode("utf-8", "replace")[:most].decode("utf-8", "ignore")
        return StepErred(
            self.session.principal,
            key.instance,
            key.attempt,
            failed.code if CODE.fullmatch(failed.code) else "ERROR",
            failed.permanent,
            commit_words(words) if words else None,
            max(0, span_ms(failed.retry_after)) if failed.HasField("retry_after") else None,
        )

    # -- what the worker is told ---------------------------------------------------------------------------------------

    async def responses(self) -> AsyncIterator[pb.WorkResponse]:
        while True:
            if self.session.connection != self._number:
                return
            outbox = self.session.take_outbox()
            for response in self._batches(outbox):
                yield response
            if self._is_draining:
                # Whatever it is doing stays in its hands: it says so when it connects again.
                yield pb.WorkResponse(drain=True)
                raise Unavailable("SHUTTING_DOWN", "the daemon is shutting down; connect again and name your session")
            if self._is_closed and not outbox:
                return
            if not outbox:
                await self.session.news()

    def _batches(self, outbox: Outbox) -> list[pb.WorkResponse]:
        """The outbox as messages, each well below what a message may have."""
        if not outbox:
            return []
        namespace = self.session.namespace
        current = pb.WorkResponse(
            verdicts=[_verdict(namespace, verdict) for verdict in outbox.verdicts],
            withdrawn=[pb.Withdrawn(attempt=_attempt(namespace, key), code=code) for key, code in outbox.withdrawn],
        )
        batches = [current]
        room = CALLS_SENT_MAX_BYTES
        for call in outbox.calls:
            size = len(call.input) + sum(map(len, call.outputs.values()))
            if size > room and current.calls:
                current = pb.WorkResponse()
                batches.append(current)
                room = CALLS_SENT_MAX_BYTES
            room -= size
            current.calls.append(_call(namespace, call))
        return batches


def _call(namespace: str, call: Call) -> pb.Call:
    return pb.Call(
        attempt=_attempt(namespace, call.key),
        step=call.step,
        idempotency_key=call.idempotency_key,
        deadline=timestamp(call.deadline_at),
        heartbeat=duration(call.heartbeat_ms),
        input=call.input,
        outputs=call.outputs,
        skipped=call.skipped,
        left_out=call.left_out,
        definition=call.definition,
    )


def _verdict(namespace: str, verdict: Verdict) -> pb.Verdict:
    return pb.Verdict(
        attempt=_attempt(namespace, verdict.key),
        kind=VERDICTS[verdict.kind],
        code=verdict.code,
        reason=verdict.reason,
    )


def _attempt(namespace: str, key: AttemptKey) -> pb.Attempt:
    return pb.Attempt(namespace=namespace, operation_id=key.operation_id, instance=key.instance, attempt=key.attempt)


def _key(attempt: pb.Attempt) -> AttemptKey:
    return AttemptKey(attempt.operation_id, attempt.instance, attempt.attempt)


def _no_hello() -> Violation:
    return Violation("hello", "must be the first message of a worker", "REQUIRED")
