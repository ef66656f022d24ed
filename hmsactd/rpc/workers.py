"""`WorkerService`: the stream of a worker. Reads what it says, sends what its session has for it, in batches."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing
from itertools import chain
from typing import Any

import anyio
import anyio.lowlevel
from grpc import aio
from hmsact.v1 import worker_pb2 as pb
from hmsact.v1 import worker_pb2_grpc

from hmsactd.core.inputs import StepDeferred, StepErred, StepSucceeded
from hmsactd.core.payload import Payload
from hmsactd.engine.session import UNANSWERED_MAX, AttemptKey, Call, Outbox, Session, Verdict
from hmsactd.errors import FailedPrecondition, HmsactdError, InvalidArgument, PermissionDenied, Unavailable, Violation
from hmsactd.rpc.caller import caller
from hmsactd.rpc.completions import CODE, Completions
from hmsactd.rpc.desk import WHOLE_ID, Checked, Desk, check
from hmsactd.rpc.patience import Patience
from hmsactd.rpc.streams import Streams
from hmsactd.rpc.times import duration, span_ms, timestamp
from hmsactd.timeline.payloads import NotJson, TooDeep, TooLarge, commit, commit_words

Context = aio.ServicerContext[Any, Any]

NAME = re.compile(r"[a-z][a-z0-9_]*")
SVC = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*")

ID_MAX = 64

SENT_MAX_BYTES = 1024 * 1024
"""What travels in one message, a quarter of what it may have; a larger call travels alone."""

FRAME_MAX_BYTES = 6
"""What a message adds to the one that it is part of: its tag and its length."""

HELLO_WITHIN_S = 10
"""How long a stream may be open without a hello: it has its place among the streams of its principal."""

HEARD_AT_A_TIME = 100
"""Reports or beats heard before others have their turn: few milliseconds, however many a message has."""

VERDICTS = {
    "recorded": pb.VERDICT_KIND_RECORDED,
    "stale": pb.VERDICT_KIND_STALE,
    "refused": pb.VERDICT_KIND_REFUSED,
    "again": pb.VERDICT_KIND_AGAIN,
}


class WorkerServicer(worker_pb2_grpc.WorkerServiceServicer):
    """Gives calls to workers and takes their reports."""

    def __init__(self, desk: Desk, patience: Patience, streams: Streams) -> None:
        self._desk = desk
        self._patience = patience
        self._streams = streams
        self._completions = Completions(desk)

    async def CompleteStep(self, request: pb.CompleteStepRequest, context: Context) -> pb.CompleteStepResponse:
        return await self._completions.complete(request)

    async def Work(self, request_iterator: Any, context: Context) -> AsyncIterator[pb.WorkResponse]:
        requests: AsyncIterator[pb.WorkRequest] = request_iterator.__aiter__()
        with self._streams.one_more(caller()):
            first = await self._first(requests)
            session, connection, welcome = self._hello(first)
            worker = _Connection(self._desk, session, connection)
            try:
                yield welcome
                # Closed here and now: a task group must end in the task that began it.
                async with aclosing(self._converse(worker, first, requests)) as responses:
                    async for response in responses:
                        yield response
            finally:
                self._desk.engine.workers.goodbye(session, connection)

    async def _first(self, requests: AsyncIterator[pb.WorkRequest]) -> pb.WorkRequest:
        """The first message, unless it is too long in coming or the daemon goes down."""
        with anyio.move_on_after(HELLO_WITHIN_S):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._cancel_when_stopping, tasks.cancel_scope, name="awaits a hello")
                first = await anext(requests, None)
                tasks.cancel_scope.cancel()
            if self._patience.is_stopping:
                raise Unavailable("SHUTTING_DOWN", "the daemon is shutting down")
            if first is None:
                raise InvalidArgument([_no_hello()])
            return first
        raise InvalidArgument([Violation("hello", f"did not come within {HELLO_WITHIN_S} s", "REQUIRED")])

    async def _cancel_when_stopping(self, scope: anyio.CancelScope) -> None:
        await self._patience.stopping()
        scope.cancel()

    async def _converse(
        self, worker: _Connection, first: pb.WorkRequest, requests: AsyncIterator[pb.WorkRequest]
    ) -> AsyncGenerator[pb.WorkResponse]:
        """Send what the session has, while a task of its own reads what the worker says."""
        errors: list[HmsactdError] = []
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._read, worker, first, requests, errors, name=f"read {worker.session.id}")
            tasks.start_soon(self._drain, worker, name=f"drain {worker.session.id}")
            try:
                async for response in worker.responses():
                    yield response
            except GeneratorExit:
                # The stream was cut. Let out from here it would come in a group, which is not how a generator ends.
                return
            finally:
                tasks.cancel_scope.cancel()
        if errors:
            raise errors[0]

    async def _read(
        self,
        worker: _Connection,
        first: pb.WorkRequest,
        requests: AsyncIterator[pb.WorkRequest],
        errors: list[HmsactdError],
    ) -> None:
        try:
            await worker.hear(first)
            async for request in requests:
                if request.HasField("hello"):
                    raise InvalidArgument([Violation("hello", "was said before: say it once", "HELLO_TWICE")])
                await worker.hear(request)
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
        self._refuse_if_called(checked.namespace, hello)
        workers = self._desk.engine.workers
        if self._patience.is_stopping:
            raise Unavailable("SHUTTING_DOWN", "the daemon is shutting down")
        session, connection, gone = workers.hello(
            caller(),
            checked.namespace,
            hello.svc,
            tuple(hello.steps),
            min(hello.max_in_flight, settings.max_in_flight),
            hello.session,
            [_key(attempt) for attempt in hello.in_hand],
            settings.sessions_per_principal_max,
        )
        welcome = pb.Welcome(
            session=workers.ticket_of(session),
            grace=duration(settings.grace.ms),
            gone=[_attempt(checked.namespace, key) for key in gone],
            payload_max_bytes=self._desk.bounds.payload_max_bytes,
        )
        return session, connection, pb.WorkResponse(welcome=welcome)

    def _refuse_if_called(self, namespace: str, hello: pb.Hello) -> None:
        """A step is done by workers or by the service that the daemon calls: an operation must not meet either."""
        called = self._desk.settings.services.get(hello.svc)
        steps = [step for step in hello.steps if called is not None and called.serves(namespace, step)]
        if called is not None and steps:
            whole = "every step" if not called.steps else ", ".join(steps[:10])
            raise FailedPrecondition(
                "SERVICE_IS_CALLED",
                f"{hello.svc} is called by the daemon for {whole} (services.{hello.svc}): no worker may do the same",
            )

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
        in_hand_max = self._desk.settings.workers.max_in_flight + UNANSWERED_MAX
        if len(hello.in_hand) > in_hand_max:
            sentence = f"are {len(hello.in_hand)}; at most {in_hand_max} are allowed"
            checked.fault("hello.in_hand", sentence, "TOO_MANY")
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

    async def hear(self, request: pb.WorkRequest) -> None:
        """Take in a message; not faster than its reports are judged, and the verdicts taken away."""
        for index, report in enumerate(request.reports):
            if index % HEARD_AT_A_TIME == HEARD_AT_A_TIME - 1:
                await anyio.lowlevel.checkpoint()
            if not self.session.may_be_heard:
                await self.session.hearing()
            if self._is_over:
                return
            if len(report.attempt.operation_id) > ID_MAX:
                # A verdict repeats the id, so that this one might have no room in a message.
                place = f"reports[{index}].attempt.operation_id"
                raise InvalidArgument([Violation(place, "is no operation id", "BAD_OPERATION_ID")])
            self._report(report)
        for index, beat in enumerate(request.beats):
            if index % HEARD_AT_A_TIME == HEARD_AT_A_TIME - 1:
                await anyio.lowlevel.checkpoint()
            self._workers.beat(self.session, _key(beat.attempt))
        if self._is_over:
            return
        if request.max_in_flight < 0:
            raise InvalidArgument([Violation("max_in_flight", "is negative", "OUT_OF_RANGE")])
        if request.max_in_flight:
            most = self._desk.settings.workers.max_in_flight
            self._workers.resize(self.session, min(request.max_in_flight, most))
        if request.leaving:
            self._workers.leaving(self.session)

    @property
    def _is_over(self) -> bool:
        """True once another connection has taken the session over."""
        return self.session.connection != self._number

    def _report(self, report: pb.Report) -> None:
        key, by = _key(report.attempt), self.session.principal
        if not WHOLE_ID.fullmatch(key.operation_id):
            # Nobody has such an operation: none has to be looked for, and what was done isn't even read.
            sentence = f"there is no operation {key.operation_id}"
            self.session.judge(Verdict(key, "refused", "OPERATION_UNKNOWN", sentence))
            return
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
            case "deferred":
                self._defer(key, report.deferred)
            case _:
                self.session.judge(
                    Verdict(key, "refused", "NO_OUTCOME", "the report says neither done nor failed nor deferred")
                )

    def _defer(self, key: AttemptKey, deferred: pb.Deferred) -> None:
        by, bounds = self.session.principal, self._desk.bounds
        within_ms = span_ms(deferred.within) if deferred.HasField("within") else None
        if within_ms is None or bounds.span_min_ms <= within_ms <= bounds.span_max_ms:
            self._workers.report(self.session, key, StepDeferred(by, key.instance, key.attempt, within_ms))
            return
        sentence = f"the deferral was refused: within is {within_ms} ms, and can be 1 ms to 10 years"
        told = StepErred(by, key.instance, key.attempt, "BAD_DEFERRAL", False, commit_words(sentence))
        self._workers.refuse(self.session, key, told, "BAD_DEFERRAL", sentence)

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
            if self._is_over:
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

    def _batches(self, outbox: Outbox) -> Iterator[pb.WorkResponse]:
        """The outbox as messages, each well below what a message may have."""
        namespace = self.session.namespace
        parts = chain(
            (("verdicts", _verdict(namespace, verdict)) for verdict in outbox.verdicts),
            (("withdrawn", _withdrawn(namespace, key, code)) for key, code in outbox.withdrawn),
            (("calls", _call(namespace, call)) for call in outbox.calls),
        )
        current, room = dict[str, list[Any]](), SENT_MAX_BYTES
        for place, part in parts:
            size = part.ByteSize() + FRAME_MAX_BYTES
            if size > room and room < SENT_MAX_BYTES:
                yield pb.WorkResponse(**current)  # type: ignore[arg-type]
                current, room = {}, SENT_MAX_BYTES
            current.setdefault(place, []).append(part)
            room -= size
        if current:
            yield pb.WorkResponse(**current)  # type: ignore[arg-type]


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
        completion_token=call.completion_token,
    )


def _verdict(namespace: str, verdict: Verdict) -> pb.Verdict:
    return pb.Verdict(
        attempt=_attempt(namespace, verdict.key),
        kind=VERDICTS[verdict.kind],
        code=verdict.code,
        reason=verdict.reason,
    )


def _withdrawn(namespace: str, key: AttemptKey, code: str) -> pb.Withdrawn:
    return pb.Withdrawn(attempt=_attempt(namespace, key), code=code)


def _attempt(namespace: str, key: AttemptKey) -> pb.Attempt:
    return pb.Attempt(namespace=namespace, operation_id=key.operation_id, instance=key.instance, attempt=key.attempt)


def _key(attempt: pb.Attempt) -> AttemptKey:
    return AttemptKey(attempt.operation_id, attempt.instance, attempt.attempt)


def _no_hello() -> Violation:
    return Violation("hello", "must be the first message of a worker", "REQUIRED")
