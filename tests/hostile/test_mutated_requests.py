"""Whatever bytes come as a request, of any RPC: a right answer, nothing told of our inside, nothing recorded."""

from __future__ import annotations

import os
from collections import Counter
from random import Random

import pytest
from hmsact.v1 import checkpoint_pb2, operation_pb2

from tests.hostile.answers import faults_of
from tests.hostile.onslaught import Onslaught
from tests.hostile.stage import CHECKPOINTS, OFFICER, OPERATIONS, SYSTEM, asked, ready, started
from tests.hostile.tower import TowerDoor, within_tower
from tests.hostile.valid import DESK, RPCS

REQUESTS = int(os.environ.get("HMSACT_SOAK_MUTATIONS", "8000"))
SEED = int(os.environ.get("HMSACT_SOAK_SEED", "20"))
RENEWED_EVERY = 500

NEVER_OK = {SYSTEM + "AdvanceClock"}
"""What this daemon, whose clock nobody may move, never does. tests/hostile/test_on_the_wire.py has one that does."""


@pytest.mark.parametrize("path", sorted(RPCS))
def test_what_is_no_message_is_refused_as_such(path: str) -> None:
    async def ask(door: TowerDoor) -> tuple[str, str]:
        answer = await door.ask(path, [b"\x0a\xff"])
        return answer.code, answer.sentence

    code, sentence = within_tower(SEED, ask)
    assert (code, "protobuf" in sentence) == ("INVALID_ARGUMENT", True)


@pytest.mark.timeout(0 if "HMSACT_SOAK_MUTATIONS" in os.environ else 120)
def test_no_bytes_make_a_request_that_is_answered_wrongly_or_recorded_though_refused() -> None:
    codes = within_tower(SEED, _be_hostile)
    assert {rpc for rpc, code in codes if code == "OK"} == set(RPCS) - NEVER_OK, "each RPC was answered OK"


async def _be_hostile(door: TowerDoor) -> Counter[tuple[str, str]]:
    onslaught = Onslaught(door, Random(SEED))
    codes: Counter[tuple[str, str]] = Counter()
    for number in range(REQUESTS):
        if number % RENEWED_EVERY == 0:
            for each in await ready(door):
                await asked(door, each.path, each.said, each.token)
                codes[each.path, "OK"] += 1
            await onslaught.renew()
        rpc, code = await _ask(door, onslaught, number)
        codes[rpc, code] += 1
    await _carry_one_through(door)
    return codes


async def _ask(door: TowerDoor, onslaught: Onslaught, number: int) -> tuple[str, str]:
    drawn = onslaught.draw()
    # A job that went through works in the background, and records.
    size = door.tower.timelines.size if not door.tower.jobs.open_counts() else None
    answer = await door.ask(drawn.rpc.path, drawn.said, drawn.token)
    where = f"seed {SEED}, request {number}, {drawn}"
    faults = faults_of(answer, drawn.token)
    assert not faults, f"{'; '.join(faults)}; {where}"
    if answer.code in ("INVALID_ARGUMENT", "NOT_FOUND", "UNAUTHENTICATED") and not drawn.rpc.is_client_streaming:
        assert size in (None, door.tower.timelines.size), f"something was recorded; {where}"
    return drawn.rpc.path, answer.code


async def _carry_one_through(door: TowerDoor) -> None:
    """After all that, an operation is started, decided and completed."""
    operation_id = await started(door, DESK)
    approval = checkpoint_pb2.ApproveCheckpointRequest(operation_id=operation_id, checkpoint="review")
    await asked(door, CHECKPOINTS + "ApproveCheckpoint", approval, OFFICER)
    request = operation_pb2.GetOperationRequest(operation_id=operation_id)
    said = await asked(door, OPERATIONS + "GetOperation", request)
    operation = operation_pb2.GetOperationResponse.FromString(said).operation
    assert operation.state == operation_pb2.OPERATION_STATE_COMPLETED
