"""Brings about what an RPC needs to be answered OK: a stalled step, a deferred one, a claimed checkpoint, an open job."""

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
from tests.hostile.valid import DESK, INPUT

OFFICER = "dev:jdavis@fsa.gov"

OPERATIONS, CHECKPOINTS, JOBS, WORKERS, SYSTEM = (
    f"/hmsact.v1.{name}Service/" for name in ("Operation", "Checkpoint", "Job", "Worker", "System")
)

numbers = count()


@dataclass(frozen=True, slots=True)
class Ready:
    """A request that will be answered OK, once, and who has to ask it."""

    path: str
    said: Message
    token: str = ""


async def ready(door: Door, can_advance: bool = False) -> list[Ready]:
    """Such a request of each RPC that needs something to be as it seldom is. Of the job first: it may soon be over."""
    made = [*await _on_checkpoints(door), *await _on_steps(door)]
    made.insert(0, await _on_a_job(door))
    if can_advance:
        made.append(Ready(SYSTEM + "AdvanceClock", system_pb2.AdvanceClockRequest(by=Duration(nanos=1_000_000))))
    return made


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
        Ready(OPERATIONS + "SkipStep", pb.SkipStepRequest(operation_id=ids[1], step="check", reason="because"), OFFICER),
        Ready(WORKERS + "CompleteStep", completion),
    ]


async def _on_a_job(door: Door) -> Ready:
    """A job that has enough before it not to be over when it is cancelled."""
    ids = [f"op_{number:026}" for number in range(300)]
    begin = job_pb2.PauseOperationsRequest(selection=job_pb2.JobSelection(operation_ids=ids), reason="because")
    said = await asked(door, JOBS + "PauseOperations", begin)
    job_id = job_pb2.BeginJobResponse.FromString(said).job.id
    return Ready(JOBS + "CancelJob", job_pb2.CancelJobRequest(job_id=job_id, reason="because"))


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
