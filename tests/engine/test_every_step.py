"""A service whose steps wait in one queue, whatever they are called; and a session that has no connection."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from hmsactd.core import events as e
from hmsactd.core.inputs import Cancel
from hmsactd.engine import dispatch
from hmsactd.engine.dispatch import ANY_STEP
from hmsactd.engine.session import Session
from tests.core.dialogue import OPERATOR, service
from tests.engine.hands import Hands
from tests.engine.trouble import TroubledStore
from tests.engine.world import SPACE, World, flow_of, kinds, living, step


@pytest.fixture
def store() -> TroubledStore:
    return TroubledStore()


@pytest.fixture
async def world(store: TroubledStore) -> AsyncIterator[World]:
    async with living(store) as world:
        world.engine.dispatch.serve_every_step(SPACE, "Irs")
        yield world


async def queued(world: World, count: int) -> list[str]:
    ids = []
    for number in range(count):
        ids.append(await world.started(flow_of(step(f"ask_{number}", "Irs"), step("again", "Irs"))))
        world.clock.advance(1000)
    return ids


async def test_steps_of_any_name_wait_in_one_queue_and_go_in_turn(world: World) -> None:
    waiting = await queued(world, 8)
    irs = Hands(world, "Irs", ANY_STEP, max_in_flight=1).connect()
    await world.quiet()
    assert [call.key.operation_id for call in irs.calls if call.step != "again"] == waiting
    assert {await world.stands(each) for each in waiting} == {"completed"}
    assert irs.session.reserved == 0


async def test_a_step_goes_straight_to_a_session_that_serves_every_step(world: World) -> None:
    irs = Hands(world, "Irs", ANY_STEP).connect()
    (only,) = await queued(world, 1)
    await world.quiet()
    assert [call.step for call in irs.calls] == ["ask_0", "again"]
    assert await world.stands(only) == "completed"


async def test_another_service_keeps_its_queues_by_step(world: World) -> None:
    operation_id = await world.started(flow_of(step("pay", "Treasury")))
    Hands(world, "Treasury", "refund").connect()
    await world.quiet()
    assert await world.stands(operation_id) == "running"
    Hands(world, "Treasury", "pay").connect()
    await world.quiet()
    assert await world.stands(operation_id) == "completed"


async def test_what_waited_before_a_restart_is_read_back_whatever_it_is_called(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dispatch, "QUEUE_MAX", 3)
    waiting = await queued(world, 10)
    await world.pass_time(10)
    await world.kill()
    await world.open()
    world.engine.dispatch.serve_every_step(SPACE, "Irs")
    Hands(world, "Irs", ANY_STEP, max_in_flight=2).connect()
    await world.pass_time(10)
    assert {await world.stands(each) for each in waiting} == {"completed"}


async def test_a_step_that_is_cancelled_waits_no_more(world: World) -> None:
    first, second = await queued(world, 2)
    await world.tell(first, Cancel(OPERATOR))
    irs = Hands(world, "Irs", ANY_STEP).connect()
    await world.quiet()
    assert {call.key.operation_id for call in irs.calls} == {second}


async def test_an_attached_session_loses_at_once_what_it_had_before_a_restart(world: World) -> None:
    world.engine.workers.attach(own := attached())
    operation_id = await world.started(flow_of(step("ask", "Irs")))
    await world.quiet()
    assert [call.key.attempt for call in own.take_outbox().calls] == [1]
    await world.kill()
    await world.open()
    world.engine.dispatch.serve_every_step(SPACE, "Irs")
    world.engine.workers.attach(again := attached())
    await world.quiet()
    assert [call.key.attempt for call in again.take_outbox().calls] == [2]
    assert kinds(await world.events(operation_id))[1:] == ["step_started 1.1", "step_lost 1.1", "step_started 1.2"]
    lost = (await world.events(operation_id))[2]
    assert isinstance(lost, e.StepLost)


def attached() -> Session:
    return Session("called_Irs", service("Irs"), SPACE, "Irs", frozenset((ANY_STEP,)), 10)
