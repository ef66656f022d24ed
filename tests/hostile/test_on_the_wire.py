"""Hostile requests to a real daemon: each is answered rightly, others are served, memory stays, all is whole."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from tests.hostile.answers import faults_of
from tests.hostile.daemon import check_kept, hostile_to
from tests.hostile.neighbour import Neighbour
from tests.hostile.onslaught import Drawn, Onslaught
from tests.hostile.stage import OPERATIONS, asked, ready
from tests.hostile.valid import RPCS, Rpc
from tests.hostile.wire import WITHIN_S, WireDoor, at

MESSAGES = int(os.environ.get("HMSACT_SOAK_WIRE", "1000"))
SEED = int(os.environ.get("HMSACT_SOAK_SEED", "20"))
RENEWED_EVERY = 250

AT_A_TIME = 4
"""Requests under way."""

PATIENCE_S = 0.2
"""After which it is hung up on what may go on for ever."""


@pytest.mark.timeout(0 if "HMSACT_SOAK_WIRE" in os.environ else 120)
def test_mutated_messages_on_the_wire_are_answered_rightly_and_others_are_served(tmp_path: Path) -> None:
    with hostile_to(tmp_path / "data", "--test-clock") as tower, Neighbour(tower.address) as neighbour:
        codes = asyncio.run(_be_hostile(tower.address))
        print(neighbour.figures, dict(Counter(code for _, code in codes.elements())))
    assert {rpc for rpc, code in codes if code == "OK"} == set(RPCS), "each RPC was answered OK"
    kinds = check_kept(tmp_path / "data")
    assert kinds["operation_completed"] >= len(neighbour.waits_s) > 0


async def _be_hostile(address: str) -> Counter[tuple[str, str]]:
    codes: Counter[tuple[str, str]] = Counter()
    async with at(address) as door:
        onslaught = Onslaught(door, Random(SEED), can_advance=True)
        for number in range(0, MESSAGES, AT_A_TIME):
            if number % RENEWED_EVERY < AT_A_TIME:
                for each in await ready(door, can_advance=True):
                    await asked(door, each.path, each.said, each.token)
                    codes[each.path, "OK"] += 1
                await onslaught.renew()
            drawn = [onslaught.draw() for _ in range(AT_A_TIME)]
            async with asyncio.TaskGroup() as at_once:
                asking = [at_once.create_task(_ask(door, each, number), name=each.rpc.path) for each in drawn]
            codes.update(each.result() for each in asking)
    return codes


async def _ask(door: WireDoor, drawn: Drawn, number: int) -> tuple[str, str]:
    is_lasting = _may_last(drawn.rpc)
    patience_s = PATIENCE_S if is_lasting else WITHIN_S
    answer = await door.ask(drawn.rpc.path, drawn.said, drawn.token, hangs_up_after_s=patience_s)
    where = f"seed {SEED}, about request {number}, {drawn}"
    assert answer.code or is_lasting, f"there is no answer; {where}"
    faults = faults_of(answer, drawn.token)
    assert not faults, f"{'; '.join(faults)}; {where}"
    return drawn.rpc.path, answer.code


def _may_last(rpc: Rpc) -> bool:
    return rpc.is_server_streaming or rpc.path == OPERATIONS + "WaitOperation"
