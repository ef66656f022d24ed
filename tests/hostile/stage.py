"""A request of each RPC that is answered OK, and what that takes: a stalled step, a deferred one, an open job."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from itertools import count
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from hmsact.v1 import checkpoint_pb2, job_pb2, operation_pb2, system_pb2, worker_pb2

from tests.hostile.door import Door
from tests.hostile.valid import DESK, INPUT, RPCS

OFFICER = "dev:jdavis@fsa.gov"

OPERATIONS, CHECKPOINTS, JOBS, TIMELINES, WORKERS, SYSTEM = (
    f"/hmsact.v1.{name}Service/" for name in ("Operation", "Checkpoint", "Job", "Timeline", "Worker", "System")
)

numbers = count()


@dataclass(frozen=True, slots=True)
class Ready:
    """A request that will be answered OK, once, and who has to ask it."""

    path: str
    said: Message
    token: str = ""


async def ready(door: Door, can_advance: bool = False) -> list[Ready]:
    """Such a request of each RPC, of AdvanceClock where the daemon has a clock that may be moved."""
    made = [*await _on_checkpoints(door), *await _on_steps(door), *await _on_operations(door)]
    if can_advance:
        made.append(Ready(SYSTEM + "AdvanceClock", system_pb2.AdvanceClockRequest(by=Duration(nanos=1_000_000))))
    # What is said of the job comes first: it may soon be over.
    return [*await _on_jobs(door), *made]


async def _on_checkpoints(door: Door) -> list[Ready]:
    pb = checkpoint_pb2
    requests = {
        "ApproveCheckpoint": pb.ApproveCheckpointRequest(reason="because"),
        "RejectCheckpoint": pb.RejectCheckpointRequest(reason="because"),
        "ClaimCheckpoint": pb.ClaimCheckpointRequest(),
        "AssignCheckpoint": pb.AssignCheckpointRequest(assignee=OFFICER),
        "ReleaseCheckpoint": pb.ReleaseCheckpointRequest(),
    }
    made = []
    for name, request in requests.items():
        said: Any = request
        said.operation_id, said.checkpoint = await started(door, DESK), "review"
        made.append(Ready(CHECKPOINTS + name, said, OFFICER))
    claim = pb.ClaimCheckpointRequest(operation_id=made[-1].said.operation_id, checkpoint="review")  # type: ignore[attr-defined]
    await asked(door, CHECKPOINTS + "ClaimCheckpoint", claim, OFFICER)
    return made


async def _on_steps(door: Door) -> list[Ready]:
    pb = operation_pb2
    stalled = [
        await worked(door, lambda _: worker_pb2.Report(failed=worker_pb2.Failed(message="no"))) for _ in range(2)
    ]
    deferred = await worked(door, lambda _: worker_pb2.Report(deferred=worker_pb2.Deferred()))
    ids = [call.attempt.operation_id for call in stalled]
    completion = worker_pb2.CompleteStepRequest(completion_token=deferred.completion_token)
    completion.done.output = b'{"eligible": true}'
    return [
        Ready(OPERATIONS + "RetryStep", pb.RetryStepRequest(operation_id=ids[0], step="check", reason="because")),
        # Whoever started it may not.
        Ready(
            OPERATIONS + "SkipStep", pb.SkipStepRequest(operation_id=ids[1], step="check", reason="because"), OFFICER
        ),
        Ready(WORKERS + "CompleteStep", completion),
    ]


async def _on_operations(door: Door) -> list[Ready]:
    """What needs no more than an operation, or nothing at all."""
    operation_id, waiting = await started(door, DESK), await started(door, DESK)
    paused = await started(door, DESK)
    await asked(door, OPERATIONS + "PauseOperation", operation_pb2.PauseOperationRequest(operation_id=paused))
    one = {"operation_id": operation_id}
    start = operation_pb2.StartOperationRequest(definition=json.dumps(DESK).encode())
    hello = worker_pb2.Hello(svc="IRS", steps=["nothing"], max_in_flight=1)
    said: dict[str, dict[str, Any]] = {
        OPERATIONS + "StartOperation": {"definition": start.definition},
        OPERATIONS + "StartOperations": {"batch": 1, "starts": [start, start]},
        OPERATIONS + "GetOperation": one,
        OPERATIONS + "WaitOperation": {**one, "timeout": Duration(nanos=1_000_000)},
        OPERATIONS + "ListOperations": {"filter": 'state = "waiting"', "page_size": 2},
        OPERATIONS + "CountOperations": {"filter": 'state = "waiting"'},
        OPERATIONS + "PauseOperation": one,
        OPERATIONS + "ResumeOperation": {"operation_id": paused},
        OPERATIONS + "CancelOperation": {"operation_id": waiting, "reason": "because"},
        CHECKPOINTS + "GetCheckpoint": one,
        CHECKPOINTS + "ListCheckpoints": {"page_size": 2},
        CHECKPOINTS + "CountCheckpoints": {},
        TIMELINES + "ListEvents": one,
        TIMELINES + "ExplainOperation": one,
        TIMELINES + "ExportOperation": one,
        TIMELINES + "WatchOperation": {**one, "no_follow": True},
        TIMELINES + "WatchEvents": {"no_follow": True},
        WORKERS + "Work": {"hello": hello, "leaving": True},
        SYSTEM + "GetSystemInfo": {},
        SYSTEM + "Whoami": {},
    }
    return [Ready(path, RPCS[path].request(**fields)) for path, fields in said.items()]


async def _on_jobs(door: Door) -> list[Ready]:
    """The last one begun is cancelled: it has enough before it not to be over by then."""
    pb = job_pb2
    few = job_pb2.JobSelection(filter='state = "waiting" AND name = "none"')
    stalled = job_pb2.JobSelection(filter='alarm = "stalled" AND name = "none"')
    many = job_pb2.JobSelection(operation_ids=[f"op_{number:026}" for number in range(300)])
    begun = await asked(door, JOBS + "PauseOperations", pb.PauseOperationsRequest(selection=few, reason="because"))
    over = pb.BeginJobResponse.FromString(begun).job.id
    begun = await asked(door, JOBS + "PauseOperations", pb.PauseOperationsRequest(selection=many, reason="because"))
    under_way = pb.BeginJobResponse.FromString(begun).job.id
    said: dict[str, dict[str, Any]] = {
        "CancelJob": {"job_id": under_way, "reason": "because"},
        "GetJob": {"job_id": over},
        "ListJobs": {"page_size": 2},
        "ListJobResults": {"job_id": over},
        "WatchJob": {"job_id": over},
        "PauseOperations": {"selection": few, "reason": "because"},
        "ResumeOperations": {"selection": pb.JobSelection(everything=True), "validate_only": True},
        "CancelOperations": {"selection": few, "reason": "because"},
        "RetryOperations": {"selection": stalled, "validate_only": True},
    }
    return [Ready(JOBS + name, RPCS[JOBS + name].request(**fields)) for name, fields in said.items()]


# -- what that takes ---------------------------------------------------------------------------------------------------


async def started(door: Door, flow: dict[str, object]) -> str:
    """An operation that nobody else knows of."""
    request = operation_pb2.StartOperationRequest(
        definition=json.dumps(flow).encode(), input=json.dumps(INPUT).encode()
    )
    said = await asked(door, OPERATIONS + "StartOperation", request)
    return operation_pb2.StartOperationResponse.FromString(said).operation_id


async def worked(door: Door, outcome: Callable[[worker_pb2.Call], worker_pb2.Report]) -> worker_pb2.Call:
    """A call of an operation that has just been started, after its worker has reported this."""
    svc = f"Service{next(numbers)}"
    await started(door, {"name": "flow", "steps": [{"step": "check", "svc": svc, "retries": 0}]})
    calls: list[worker_pb2.Call] = []
    says: asyncio.Queue[worker_pb2.WorkRequest | None] = asyncio.Queue()
    says.put_nowait(worker_pb2.WorkRequest(hello=worker_pb2.Hello(svc=svc, steps=["check"], max_in_flight=1)))

    def heard(raw: bytes) -> None:
        response = worker_pb2.WorkResponse.FromString(raw)
        for call in response.calls:
            calls.append(call)
            report = outcome(call)
            report.attempt.CopyFrom(call.attempt)
            says.put_nowait(worker_pb2.WorkRequest(reports=[report], leaving=True))
        for verdict in response.verdicts:
            assert verdict.kind == worker_pb2.VERDICT_KIND_RECORDED, verdict
            says.put_nowait(None)

    async def said() -> AsyncGenerator[bytes]:
        while (request := await says.get()) is not None:
            yield request.SerializeToString()

    async with aclosing(said()) as requests:
        answer = await door.ask(WORKERS + "Work", requests, f"dev:svc/{svc}", heard)
    assert answer.code == "OK", answer
    assert calls
    return calls[0]


async def asked(door: Door, path: str, request: Message, token: str = "") -> bytes:
    """The answer to a request that has to be answered OK."""
    answer = await door.ask(path, [request.SerializeToString()], token)
    assert answer.code == "OK", answer
    return answer.messages[0]
