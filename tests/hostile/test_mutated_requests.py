"""Whatever bytes come as a request, of any RPC: a right answer, nothing told of our inside, nothing recorded."""

from __future__ import annotations

import asyncio
import json
import os
from collections import Counter
from random import Random

import pytest
from hmsact.v1 import checkpoint_pb2, job_pb2, operation_pb2

from tests.hostile.answers import faults_of
from tests.hostile.mutation import mutated
from tests.hostile.tower import Door, within_tower
from tests.hostile.valid import DESK, FLOW, INPUT, RPCS, Rpc, Valid

REQUESTS = int(os.environ.get("HMSACT_SOAK_MUTATIONS", "8000"))
SEED = int(os.environ.get("HMSACT_SOAK_SEED", "20"))
VALID = 0.15
"""The share of requests that are left as they are, so that the others meet something."""

OFFICER = "dev:jdavis@fsa.gov"
TOKENS = ("", "", "", OFFICER, "dev:mgarcia@fsa.gov", "dev:casebot", "dev:svc/IRS", "nobody")

OPERATIONS, CHECKPOINTS, JOBS = (f"/hmsact.v1.{name}Service/" for name in ("Operation", "Checkpoint", "Job"))


@pytest.mark.parametrize("path", sorted(RPCS))
def test_what_is_no_message_is_refused_as_such(path: str) -> None:
    async def ask(door: Door) -> tuple[str, str]:
        answer = await door.ask(path, [b"\x0a\xff"])
        return answer.code, answer.sentence

    code, sentence = within_tower(SEED, ask)
    assert (code, "protobuf" in sentence) == ("INVALID_ARGUMENT", True)


@pytest.mark.timeout(0 if "HMSACT_SOAK_MUTATIONS" in os.environ else 120)
def test_no_bytes_make_a_request_that_is_answered_wrongly_or_recorded_though_refused() -> None:
    codes = within_tower(SEED, _be_hostile)
    assert {rpc for rpc, _ in codes} == set(RPCS), "each RPC was asked"


async def _be_hostile(door: Door) -> Counter[tuple[str, str]]:
    chance = Random(SEED)
    valid = Valid(chance, [await started(door, flow) for flow in (FLOW, DESK) * 4], [await _job(door)])
    codes: Counter[tuple[str, str]] = Counter()
    for number in range(REQUESTS):
        if number % 200 == 0:
            # Some have ended, by requests that went through.
            valid.operations = [*valid.operations[2:], await started(door, FLOW), await started(door, DESK)]
        rpc = chance.choice(list(RPCS.values()))
        code = await _ask(door, rpc, valid, chance, number)
        codes[rpc.path, code] += 1
    await _carry_one_through(door)
    return codes


async def _ask(door: Door, rpc: Rpc, valid: Valid, chance: Random, number: int) -> str:
    requests = [valid.request(rpc) for _ in range(chance.randint(1, 3) if rpc.is_client_streaming else 1)]
    said = [each.SerializeToString() if chance.random() < VALID else mutated(each, chance) for each in requests]
    size = door.tower.timelines.size
    answer = await door.ask(rpc.path, said, chance.choice(TOKENS))
    where = f"seed {SEED}, request {number}, {rpc.path}: {said[0][:200]!r}"
    if answer.code == "UNAUTHENTICATED":
        assert "nobody" not in answer.sentence, f"it tells the token; {where}"
    elif answer.code:
        faults = faults_of(answer.code, answer.sentence)
        assert not faults, f"{'; '.join(faults)}; {where}"
    if answer.code in ("INVALID_ARGUMENT", "NOT_FOUND", "UNAUTHENTICATED") and not rpc.is_client_streaming:
        assert door.tower.timelines.size == size, f"something was recorded; {where}"
    while door.tower.jobs.open_counts():  # noqa: ASYNC110 -- virtual time, and no event tells of it
        # A job that went through works in the background, and records.
        await asyncio.sleep(1)
    return answer.code


async def started(door: Door, flow: dict[str, object]) -> str:
    """An operation that nobody else knows of."""
    request = operation_pb2.StartOperationRequest(
        definition=json.dumps(flow).encode(), input=json.dumps(INPUT).encode()
    )
    answer = await door.ask(OPERATIONS + "StartOperation", [request.SerializeToString()])
    assert answer.code == "OK", answer
    return operation_pb2.StartOperationResponse.FromString(answer.messages[0]).operation_id


async def _job(door: Door) -> str:
    selection = job_pb2.JobSelection(filter='state = "waiting" AND name = "none"')
    request = job_pb2.PauseOperationsRequest(selection=selection, reason="because")
    answer = await door.ask(JOBS + "PauseOperations", [request.SerializeToString()])
    assert answer.code == "OK", answer
    return job_pb2.BeginJobResponse.FromString(answer.messages[0]).job.id


async def _carry_one_through(door: Door) -> None:
    """After all that, an operation is started, decided and completed."""
    operation_id = await started(door, DESK)
    approval = checkpoint_pb2.ApproveCheckpointRequest(operation_id=operation_id, checkpoint="review")
    answer = await door.ask(CHECKPOINTS + "ApproveCheckpoint", [approval.SerializeToString()], OFFICER)
    assert answer.code == "OK", answer
    request = operation_pb2.GetOperationRequest(operation_id=operation_id)
    answer = await door.ask(OPERATIONS + "GetOperation", [request.SerializeToString()])
    operation = operation_pb2.GetOperationResponse.FromString(answer.messages[0]).operation
    assert operation.state == operation_pb2.OPERATION_STATE_COMPLETED
