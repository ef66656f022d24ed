"""A client on bare stubs, which sends what the SDK would never send, and reads refusals detail by detail."""

import json
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Self, TypeVar

import grpc
from google.rpc import error_details_pb2  # type: ignore[import-untyped]
from grpc_status import rpc_status
from hmsact.v1 import (
    checkpoint_pb2,
    checkpoint_pb2_grpc,
    event_pb2,
    operation_pb2,
    operation_pb2_grpc,
    system_pb2_grpc,
    timeline_pb2,
    timeline_pb2_grpc,
    worker_pb2,
    worker_pb2_grpc,
)

WITHIN_S = 20.0
"""How long anything may take on a busy machine before it counts as never."""

OFFICER = "dev:jdavis@fsa.gov"
OTHER_OFFICER = "dev:mgarcia@fsa.gov"
AGENT = "dev:casebot"
SERVICE = "dev:svc/FSA"

Metadata = tuple[tuple[str, str], ...]
T = TypeVar("T")


@dataclass
class Refusal:
    """The status of a call that was refused, with the details that fit."""

    code: grpc.StatusCode | None = None
    sentence: str = ""
    reason: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    violations: list[tuple[str, str]] = field(default_factory=list)
    """Field and reason of every violation, in order."""
    preconditions: list[str] = field(default_factory=list)
    retry_after_s: float | None = None

    @property
    def name(self) -> str:
        """The name of the status."""
        assert self.code is not None, "nothing was refused"
        return self.code.name

    def read(self, error: grpc.RpcError) -> None:
        call: Any = error  # whatever grpc raises for a call is the call itself
        self.code, self.sentence = call.code(), call.details() or ""
        status = rpc_status.from_call(call)
        for detail in status.details if status is not None else ():
            self._read_detail(detail)

    def _read_detail(self, detail: Any) -> None:
        info = error_details_pb2.ErrorInfo()
        request = error_details_pb2.BadRequest()
        failure = error_details_pb2.PreconditionFailure()
        retry = error_details_pb2.RetryInfo()
        if detail.Unpack(info):
            assert info.domain == "hmsact"
            assert not self.reason, "a status has one ErrorInfo"
            self.reason, self.metadata = info.reason, dict(info.metadata)
        elif detail.Unpack(request):
            self.violations = [(violation.field, violation.reason) for violation in request.field_violations]
            assert all(violation.description for violation in request.field_violations)
        elif detail.Unpack(failure):
            self.preconditions = [violation.type for violation in failure.violations]
        elif detail.Unpack(retry):
            self.retry_after_s = retry.retry_delay.ToTimedelta().total_seconds()


@contextmanager
def refused(name: str, reason: str | None = None) -> Iterator[Refusal]:
    """What is inside is refused with this status, and for this reason if one is given."""
    refusal = Refusal()
    try:
        yield refusal
    except grpc.RpcError as error:
        refusal.read(error)
    assert refusal.code is not None, f"this was not refused; {name} was expected"
    assert refusal.name == name, f"{refusal.name}: {refusal.sentence}"
    if reason is not None:
        assert refusal.reason == reason, refusal.sentence


def reason_of(call: Callable[[], object]) -> str:
    """Why a call is refused; empty if it isn't."""
    refusal = Refusal()
    try:
        call()
    except grpc.RpcError as error:
        refusal.read(error)
    return refusal.reason


def eventually(look: Callable[[], T], within_s: float = WITHIN_S) -> T:
    """What `look` sees as soon as it is something; looks again and again until then."""
    until = time.monotonic() + within_s
    while not (seen := look()):
        assert time.monotonic() < until, f"{look} saw {seen!r} for {within_s} s"
        time.sleep(0.02)
    return seen


_STEP = {"step": "check", "reason": "because"}
_CHECKPOINT = {"checkpoint": "review"}
_ASSIGNMENT = {**_CHECKPOINT, "assignee": "dev:tlee@fsa.gov"}

VERBS: dict[str, tuple[str, str, Callable[..., Any], dict[str, str]]] = {
    "pause": ("operations", "PauseOperation", operation_pb2.PauseOperationRequest, {}),
    "resume": ("operations", "ResumeOperation", operation_pb2.ResumeOperationRequest, {}),
    "cancel": ("operations", "CancelOperation", operation_pb2.CancelOperationRequest, {}),
    "retry": ("operations", "RetryStep", operation_pb2.RetryStepRequest, _STEP),
    "skip": ("operations", "SkipStep", operation_pb2.SkipStepRequest, _STEP),
    "approve": ("checkpoints", "ApproveCheckpoint", checkpoint_pb2.ApproveCheckpointRequest, _CHECKPOINT),
    "reject": ("checkpoints", "RejectCheckpoint", checkpoint_pb2.RejectCheckpointRequest, _CHECKPOINT),
    "claim": ("checkpoints", "ClaimCheckpoint", checkpoint_pb2.ClaimCheckpointRequest, _CHECKPOINT),
    "release": ("checkpoints", "ReleaseCheckpoint", checkpoint_pb2.ReleaseCheckpointRequest, _CHECKPOINT),
    "assign": ("checkpoints", "AssignCheckpoint", checkpoint_pb2.AssignCheckpointRequest, _ASSIGNMENT),
}
"""Everything that changes an operation: service, RPC, request, and what its other fields usually are."""


class Caller:
    """All stubs of the API for one principal. Every call has a deadline: a hang is a failure."""

    def __init__(self, address: str, token: str | None = None, metadata: Metadata | None = None) -> None:
        self.address = address
        if metadata is None:
            metadata = (("authorization", f"Bearer {token}"),) if token is not None else ()
        self.metadata = metadata
        self.channel = grpc.insecure_channel(
            address, options=[("grpc.use_local_subchannel_pool", 1), ("grpc.max_send_message_length", -1)]
        )
        self.operations = operation_pb2_grpc.OperationServiceStub(self.channel)
        self.checkpoints = checkpoint_pb2_grpc.CheckpointServiceStub(self.channel)
        self.timelines = timeline_pb2_grpc.TimelineServiceStub(self.channel)
        self.workers = worker_pb2_grpc.WorkerServiceStub(self.channel)
        self.system = system_pb2_grpc.SystemServiceStub(self.channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.channel.close()

    def call(self, rpc: Any, request: Any, timeout_s: float = WITHIN_S) -> Any:
        """One answer."""
        return rpc(request, timeout=timeout_s, metadata=self.metadata)

    def stream(self, rpc: Any, request: Any, timeout_s: float = WITHIN_S) -> Any:
        """A stream of answers; it can be cancelled."""
        return rpc(request, timeout=timeout_s, metadata=self.metadata)

    def start(self, *items: dict[str, Any], **fields: Any) -> str:
        """Start an operation of these items, and return its id."""
        return str(self.started(*items, **fields).operation_id)

    def started(self, *items: dict[str, Any], **fields: Any) -> Any:
        """Start an operation of these items."""
        request = operation_pb2.StartOperationRequest(**{"definition": definition(*items), **fields})
        return self.call(self.operations.StartOperation, request)

    def steer(self, verb: str, operation_id: str, **fields: Any) -> operation_pb2.Recorded:
        """Do something with an operation, its step "check" or its checkpoint "review"; returns what was recorded."""
        stub, rpc, request, usual = VERBS[verb]
        said = request(**{"operation_id": operation_id, **usual, **fields})
        recorded: operation_pb2.Recorded = self.call(getattr(getattr(self, stub), rpc), said).recorded
        return recorded

    def get(self, operation_id: str, **fields: Any) -> operation_pb2.Operation:
        """The operation as it is now."""
        request = operation_pb2.GetOperationRequest(operation_id=operation_id, **fields)
        operation: operation_pb2.Operation = self.call(self.operations.GetOperation, request).operation
        return operation

    def count(self, **fields: Any) -> int:
        """How many operations a filter matches."""
        request = operation_pb2.CountOperationsRequest(**fields)
        return int(self.call(self.operations.CountOperations, request).count)

    def events(self, operation_id: str, **fields: Any) -> list[event_pb2.Event]:
        """Everything on its timeline by now, page by page: a page holds less than was asked for if it grows large."""
        found: list[event_pb2.Event] = []
        request = timeline_pb2.ListEventsRequest(operation_id=operation_id, page_size=1000, **fields)
        while True:
            page = self.call(self.timelines.ListEvents, request)
            found += page.events
            request.page_token = page.next_page_token
            if not request.page_token:
                return found

    def kinds(self, operation_id: str, **fields: Any) -> list[str]:
        """The kinds of everything on its timeline by now."""
        return [event.kind for event in self.events(operation_id, **fields)]

    def happens(self, operation_id: str, kind: str, times: int = 1) -> list[str]:
        """Wait until a kind is on the timeline, so many times; returns all kinds."""

        def look() -> list[str]:
            kinds = self.kinds(operation_id)
            return kinds if kinds.count(kind) >= times else []

        return eventually(look)


def definition(*items: dict[str, Any], **fields: Any) -> bytes:
    """The JSON of a definition."""
    return json.dumps({"name": "flow", "steps": list(items), **fields}).encode()


def step(name: str = "check", svc: str = "IRS", **fields: Any) -> dict[str, Any]:
    """A step of a definition."""
    return {"step": name, "svc": svc, **fields}


def checkpoint(name: str = "review", role: str = "fsa.officer", **fields: Any) -> dict[str, Any]:
    """A checkpoint of a definition."""
    return {"checkpoint": name, "role": role, **fields}


class RawWorker:
    """One stream of a worker that says exactly what it is told to say."""

    def __init__(self, caller: Caller, *said: worker_pb2.WorkRequest) -> None:
        self._says: queue.SimpleQueue[worker_pb2.WorkRequest | None] = queue.SimpleQueue()
        self._welcomes: queue.SimpleQueue[worker_pb2.Welcome] = queue.SimpleQueue()
        self._calls: queue.SimpleQueue[worker_pb2.Call] = queue.SimpleQueue()
        self._verdicts: queue.SimpleQueue[worker_pb2.Verdict] = queue.SimpleQueue()
        self._withdrawn: queue.SimpleQueue[worker_pb2.Withdrawn] = queue.SimpleQueue()
        self._ended: queue.SimpleQueue[grpc.RpcError | None] = queue.SimpleQueue()
        self.is_draining = False
        """True once the daemon has said that it goes down."""
        for request in said:
            self.say(request)
        self._stream = caller.workers.Work(iter(self._says.get, None), metadata=caller.metadata)
        self._reader = threading.Thread(target=self._read, name="reader of a raw worker")
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.cut()

    def say(self, request: worker_pb2.WorkRequest) -> None:
        """Send a message."""
        self._says.put(request)

    def cut(self) -> None:
        """End the connection without a word, as a crash does."""
        self._stream.cancel()
        self._says.put(None)
        self._reader.join()

    def hang_up(self) -> None:
        """Say that nothing more will be said, and go on listening."""
        self._says.put(None)

    def done(self, attempt: worker_pb2.Attempt, output: bytes = b"null") -> None:
        """Report success."""
        self.say(worker_pb2.WorkRequest(reports=[done(attempt, output)]))

    def failed(self, attempt: worker_pb2.Attempt, **said: Any) -> None:
        """Report failure."""
        report = worker_pb2.Report(attempt=attempt, failed=worker_pb2.Failed(**said))
        self.say(worker_pb2.WorkRequest(reports=[report]))

    def beat(self, attempt: worker_pb2.Attempt) -> None:
        """Say that an attempt is still being worked on."""
        self.say(worker_pb2.WorkRequest(beats=[worker_pb2.Beat(attempt=attempt)]))

    def welcome(self) -> worker_pb2.Welcome:
        """The answer to its hello."""
        return self._welcomes.get(timeout=WITHIN_S)

    def call(self) -> worker_pb2.Call:
        """The next call."""
        return self._calls.get(timeout=WITHIN_S)

    def verdict(self) -> worker_pb2.Verdict:
        """The next verdict."""
        return self._verdicts.get(timeout=WITHIN_S)

    def judged(self) -> tuple[str, str]:
        """Kind and code of the next verdict."""
        verdict = self.verdict()
        return worker_pb2.VerdictKind.Name(verdict.kind).removeprefix("VERDICT_KIND_"), verdict.code

    def withdrawn(self) -> worker_pb2.Withdrawn:
        """The next attempt to be given up."""
        return self._withdrawn.get(timeout=WITHIN_S)

    def ended(self) -> None:
        """Return when the daemon has ended the stream in order; raises its error if it did so otherwise."""
        error = self._ended.get(timeout=WITHIN_S)
        if error is not None:
            raise error

    @property
    def has_calls(self) -> bool:
        """True if it was given a call that nobody has looked at."""
        return not self._calls.empty()

    def _read(self) -> None:
        try:
            for response in self._stream:
                if response.HasField("welcome"):
                    self._welcomes.put(response.welcome)
                for call in response.calls:
                    self._calls.put(call)
                for verdict in response.verdicts:
                    self._verdicts.put(verdict)
                self.is_draining |= response.drain
                for withdrawn in response.withdrawn:
                    self._withdrawn.put(withdrawn)
        except grpc.RpcError as error:
            self._ended.put(error)
        else:
            self._ended.put(None)


def hello(svc: str = "IRS", steps: Sequence[str] = ("check",), **fields: Any) -> worker_pb2.WorkRequest:
    """The first message of a worker."""
    return worker_pb2.WorkRequest(hello=worker_pb2.Hello(**{"svc": svc, "steps": steps, "max_in_flight": 1, **fields}))


def done(attempt: worker_pb2.Attempt, output: bytes = b"null") -> worker_pb2.Report:
    """A report of success."""
    return worker_pb2.Report(attempt=attempt, done=worker_pb2.Done(output=output))
