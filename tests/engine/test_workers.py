"""Workers that are slow, silent, lost, late or connected twice: an attempt has one outcome, and a report its answer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from hmsactd.core import events as e
from hmsactd.core.inputs import Pause, Resume, StepErred
from hmsactd.engine import session
from hmsactd.engine.dispatch import Line
from hmsactd.engine.session import AttemptKey
from hmsactd.errors import ResourceExhausted
from hmsactd.timeline.payloads import commit_words
from tests.core.dialogue import OPERATOR
from tests.engine.hands import Failed, Hands
from tests.engine.trouble import TroubledStore
from tests.engine.world import LIMITS, SECOND, SPACE, World, flow_of, kinds, living, step, with_heartbeat

GRACE_S = LIMITS.grace_us / SECOND
ASK = flow_of(step("ask", "Irs"))


@pytest.fixture
def store() -> TroubledStore:
    return TroubledStore()


@pytest.fixture
async def world(store: TroubledStore) -> AsyncIterator[World]:
    async with living(store) as world:
        yield world


async def test_a_silent_attempt_fails_and_a_beating_one_does_not(world: World) -> None:
    irs = Hands(world, "Irs", "ask", work=None).connect()
    flow = flow_of(with_heartbeat(step("ask", "Irs"), 3_000))
    silent, beating = await world.started(flow), await world.started(flow)
    await world.quiet()
    for _ in range(5):
        await world.pass_time(2)
        irs.beat(key for key in irs.in_hand if key.operation_id == beating)
    failed = (await world.events(silent))[2]
    assert isinstance(failed, e.StepFailed)
    assert failed.code == "HEARTBEAT_TIMEOUT"
    assert failed.at - irs_took(await world.events(silent)) <= 4 * SECOND
    assert (irs.calls[0].key, "HEARTBEAT_TIMEOUT") in irs.withdrawn
    assert kinds(await world.events(beating))[-1] == "step_started 1.1"


def irs_took(events: list[e.Event]) -> int:
    return next(event.at for event in events if isinstance(event, e.StepStarted))


async def test_an_attempt_that_takes_too_long_times_out_and_its_report_is_late(world: World) -> None:
    irs = Hands(world, "Irs", "ask", work=None).connect()
    operation_id = await world.started(flow_of(step("ask", "Irs", timeout="5s")))
    await world.pass_time(8)
    first, second = irs.calls
    assert irs.withdrawn == [(first.key, "TIMEOUT")]
    irs.finish(first.key)
    await world.quiet()
    assert irs.told("stale") == [first.key]
    irs.finish(second.key)
    await world.quiet()
    assert kinds(await world.events(operation_id))[1:] == [
        *("step_started 1.1", "step_failed 1.1", "step_queued 1", "step_started 1.2", "step_done 1.2"),
        "operation_completed",
    ]


async def test_a_worker_lost_in_the_middle_of_a_step_is_replaced_after_its_grace(world: World) -> None:
    irs = Hands(world, "Irs", "ask", work=None).connect()
    operation_id = await world.started(ASK)
    await world.quiet()
    irs.die()
    other = Hands(world, "Irs", "ask").connect()
    await world.pass_time(GRACE_S - 1)
    assert other.calls == []
    await world.pass_time(2)
    assert await world.stands(operation_id) == "completed"
    assert world.engine.workers.connected() == {("default", "Irs"): 1}


async def test_a_worker_that_reconnects_keeps_what_it_says_it_has_and_loses_the_rest(world: World) -> None:
    irs = Hands(world, "Irs", "ask", work=None).connect()
    kept, dropped = await world.started(ASK), await world.started(ASK)
    await world.quiet()
    irs.hang_up()
    del irs.in_hand[irs.calls[1].key]
    irs.connect()
    await world.quiet()
    irs.finish_all()
    await world.quiet()
    assert [call.key.attempt for call in irs.calls] == [1, 1, 2]
    assert kinds(await world.events(kept))[1:] == ["step_started 1.1", "step_done 1.1", "operation_completed"]
    assert kinds(await world.events(dropped))[1:4] == ["step_started 1.1", "step_lost 1.1", "step_started 1.2"]
    assert await world.stands(dropped) == "completed"


async def test_a_session_belongs_to_its_last_connection(world: World) -> None:
    first = Hands(world, "Irs", "ask", work=None).connect()
    operation_id = await world.started(ASK)
    await world.quiet()
    second = Hands(world, "Irs", "ask")
    second.ticket, second.in_hand = first.ticket, dict(first.in_hand)
    second.connect()
    assert second.session is first.session
    # The end of the connection that was replaced is no news.
    first.hang_up()
    await world.pass_time(GRACE_S + 5)
    assert first.session.gone_at is None
    assert kinds(await world.events(operation_id))[-1] == "step_started 1.1"
    second.finish_all()
    await world.quiet()
    assert second.told("recorded") == [first.calls[0].key]


async def test_a_report_of_an_attempt_that_is_not_held_changes_nothing(world: World) -> None:
    irs = Hands(world, "Irs", "ask", work=None).connect()
    liar = Hands(world, "Irs", "ask", work=None, max_in_flight=1)
    operation_id = await world.started(ASK)
    await world.quiet()
    liar.connect()
    (call,) = irs.calls
    others = [AttemptKey(operation_id, 1, 2), AttemptKey(operation_id, 9, 1), AttemptKey("op_nobody", 1, 1)]
    for key in (call.key, *others):
        liar.finish(key)
    await world.quiet()
    assert [(verdict.kind, verdict.code) for verdict in liar.verdicts] == [
        ("stale", "NOT_HELD"),
        *[("stale", "NOT_HELD")] * 2,
        ("refused", "OPERATION_UNKNOWN"),
    ]
    assert kinds(await world.events(operation_id))[1:] == ["step_started 1.1"]
    irs.finish_all()
    await world.quiet()
    assert await world.stands(operation_id) == "completed"


async def test_a_report_repeated_is_recorded_once_and_answered_each_time(world: World) -> None:
    irs = Hands(world, "Irs", "ask", work=None).connect()
    operation_id = await world.started(ASK)
    await world.quiet()
    (call,) = irs.calls
    irs.finish(call.key)
    irs._send(call.key)
    await world.quiet()
    assert [verdict.kind for verdict in irs.verdicts] == ["recorded"]
    irs.finish(call.key, Failed())
    await world.quiet()
    assert [verdict.kind for verdict in irs.verdicts] == ["recorded", "stale"]
    assert kinds(await world.events(operation_id))[1:] == ["step_started 1.1", "step_done 1.1", "operation_completed"]


async def test_a_report_that_cannot_be_recorded_now_stays_in_hand_and_is_sent_again(
    world: World, store: TroubledStore
) -> None:
    irs = Hands(world, "Irs", "ask", work=None, max_in_flight=1).connect()
    operation_id = await world.started(ASK)
    await world.quiet()
    store.is_away = True
    irs.finish_all()
    await world.pass_time(5)
    assert {verdict.kind for verdict in irs.verdicts} == {"again"}
    assert irs.session.free == 0
    store.is_away = False
    await world.pass_time(2)
    assert irs.told("recorded") == [irs.calls[0].key]
    assert await world.stands(operation_id) == "completed"
    assert irs.session.free == 1


async def test_a_worker_given_up_while_its_report_could_not_be_recorded_leaves_nothing_behind(
    world: World, store: TroubledStore
) -> None:
    irs = Hands(world, "Irs", "ask", work=None).connect()
    operation_id = await world.started(ASK)
    await world.quiet()
    store.is_away = True
    irs.finish_all()
    irs.die()
    await world.pass_time(GRACE_S + 5)
    store.is_away = False
    other = Hands(world, "Irs", "ask").connect()
    await world.pass_time(5)
    assert await world.stands(operation_id) == "completed"
    assert [call.key.attempt for call in other.calls] == [2]


async def test_a_worker_given_up_while_its_report_was_on_the_way_leaves_nothing_behind(
    world: World, store: TroubledStore
) -> None:
    irs = Hands(world, "Irs", "ask", work=None).connect()
    operation_id = await world.started(ASK)
    await world.quiet()
    store.answers.clear()
    irs.finish_all()
    irs.die()
    await world.pass_time(GRACE_S + 2)
    store.is_away = True
    store.answers.set()
    await world.quiet()
    store.is_away = False
    other = Hands(world, "Irs", "ask").connect()
    await world.pass_time(3)
    assert await world.stands(operation_id) == "completed"
    assert [call.key.attempt for call in other.calls] == [2]


async def test_the_loss_of_a_worker_is_told_again_to_an_operation_that_could_not_hear_it(store: TroubledStore) -> None:
    async with living(store, limits=replace(LIMITS, mailbox_max=1)) as world:
        irs = Hands(world, "Irs", "ask", work=None).connect()
        operation_id = await world.started(ASK)
        await world.quiet()
        irs.die()
        await world.pass_time(GRACE_S - 1)
        store.answers.clear()
        told = [world.engine.tell("default", operation_id, Pause(OPERATOR))]
        await world.quiet()
        told.append(world.engine.tell("default", operation_id, Resume(OPERATOR)))
        await world.pass_time(2)
        store.answers.set()
        other = Hands(world, "Irs", "ask").connect()
        await world.pass_time(2)
        assert [each.exception() for each in told] == [None, None]
        assert [call.key.attempt for call in other.calls] == [2]
        assert await world.stands(operation_id) == "completed"


async def test_a_refused_output_is_refused_only_once_its_failure_is_recorded(
    world: World, store: TroubledStore
) -> None:
    irs = Hands(world, "Irs", "ask", work=None).connect()
    operation_id = await world.started(ASK)
    await world.quiet()
    (call,) = irs.calls
    told = StepErred(irs.principal, 1, 1, "BAD_OUTPUT", True, commit_words("it is no JSON"))
    store.is_away = True
    irs.unacknowledged[call.key] = b""
    world.engine.workers.refuse(irs.session, call.key, told, "BAD_OUTPUT", "it is no JSON")
    await world.quiet()
    assert [verdict.kind for verdict in irs.verdicts] == ["again"]
    store.is_away = False
    world.engine.workers.refuse(irs.session, call.key, told, "BAD_OUTPUT", "it is no JSON")
    await world.quiet()
    assert [verdict.kind for verdict in irs.verdicts] == ["again", "refused"]
    assert kinds(await world.events(operation_id))[2:] == ["step_failed 1.1", "operation_failed 1"]


async def test_a_running_attempt_may_finish_while_its_operation_is_paused(world: World) -> None:
    irs = Hands(world, "Irs", "ask", "tell", work=None).connect()
    operation_id = await world.started(flow_of(step("ask", "Irs"), step("tell", "Irs")))
    await world.tell(operation_id, Pause(OPERATOR))
    await world.quiet()
    irs.finish_all()
    await world.pass_time(20)
    assert irs.told("recorded") == [irs.calls[0].key]
    assert (len(irs.calls), await world.stands(operation_id)) == (1, "paused")


async def test_sessions_have_a_bound_that_no_session_of_before_counts_against() -> None:
    async with living(TroubledStore(), limits=replace(LIMITS, sessions_max=2)) as world:
        first, _ = Hands(world, "Irs", "ask").connect(), Hands(world, "Irs", "ask").connect()
        with pytest.raises(ResourceExhausted, match="2 workers have a session, the most allowed"):
            Hands(world, "Irs", "ask").connect()
        first.connect()
        first.leave()
        first.hang_up()
        Hands(world, "Irs", "ask").connect()


async def test_of_workers_that_are_gone_no_session_is_left(world: World) -> None:
    workers = [Hands(world, "Irs", "ask").connect() for _ in range(50)]
    for worker in workers:
        worker.leave()
        worker.hang_up()
    await world.pass_time(GRACE_S + 1)
    assert world.engine.dispatch.sessions == {}
    assert world.engine.dispatch._servers == {}


async def test_a_session_that_holds_nothing_ends_with_its_connection(world: World) -> None:
    irs = Hands(world, "Irs", "ask", work=None).connect()
    irs.hang_up()
    assert world.engine.dispatch.sessions == {}
    irs.connect()
    await world.started(ASK)
    await world.quiet()
    irs.hang_up()
    assert list(world.engine.dispatch.sessions) == [irs.session.id]


async def test_a_worker_that_comes_back_with_other_steps_is_given_those(world: World) -> None:
    irs = Hands(world, "Irs", "ask", work=None).connect()
    await world.started(ASK)
    await world.quiet()
    before = irs.session
    irs.steps = frozenset({"tell"})
    irs.connect()
    assert irs.session is before
    told = await world.started(flow_of(step("tell", "Irs")))
    asked = await world.started(ASK)
    await world.quiet()
    assert [(call.step, call.key.operation_id) for call in irs.calls[1:]] == [("tell", told)]
    assert await world.stands(asked) == "running"
    assert world.engine.dispatch.worker_count(Line(SPACE, "Irs", "ask")) == 0
    assert world.engine.dispatch.worker_count(Line(SPACE, "Irs", "tell")) == 1


async def test_when_a_worker_was_last_heard_of_is_told_of_what_it_holds_alone(world: World) -> None:
    irs = Hands(world, "Irs", "ask", work=None).connect()
    operation_id = await world.started(ASK)
    await world.quiet()
    taken_at = world.clock.passed()
    await world.pass_time(3)
    irs.beat([AttemptKey("op_other", 1, 1)])
    heard_at = world.engine.dispatch.heard_at
    assert heard_at(irs.session.id, operation_id, 1, 1) == taken_at
    irs.beat()
    assert heard_at(irs.session.id, operation_id, 1, 1) == taken_at + 3 * SECOND
    assert heard_at(irs.session.id, operation_id, 1, 2) is None
    assert heard_at("wrk_other", operation_id, 1, 1) is None


async def test_an_output_that_is_refused_twice_or_not_held_changes_nothing_more(world: World) -> None:
    irs = Hands(world, "Irs", "ask", work=None).connect()
    operation_id = await world.started(ASK)
    await world.quiet()
    (call,) = irs.calls
    for key in (call.key, call.key, AttemptKey(operation_id, 1, 7)):
        told = StepErred(irs.principal, 1, key.attempt, "BAD_OUTPUT", True, commit_words("it is no JSON"))
        world.engine.workers.refuse(irs.session, key, told, "BAD_OUTPUT", "it is no JSON")
    await world.quiet()
    assert [(verdict.key.attempt, verdict.kind) for verdict in irs.verdicts] == [(7, "refused"), (1, "refused")]
    assert kinds(await world.events(operation_id))[2:] == ["step_failed 1.1", "operation_failed 1"]


async def test_who_floods_waits_until_its_reports_are_answered(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "UNANSWERED_MAX", 2)
    irs = Hands(world, "Irs", "ask", work=None).connect()
    for _ in range(2):
        await world.started(ASK)
    await world.quiet()
    may_be_heard = [irs.session.may_be_heard]
    irs.finish_all()
    may_be_heard.append(irs.session.may_be_heard)
    hearing = world.do(irs.session.hearing())
    await world.turn()
    assert not hearing.done()
    await hearing
    may_be_heard.append(irs.session.may_be_heard)
    assert may_be_heard == [True, False, True]


async def test_the_sessions_of_a_principal_have_a_bound(world: World) -> None:
    irs = Hands(world, "Irs", "ask").connect()

    def one_more(who: Hands, most: int) -> None:
        world.engine.workers.hello(who.principal, SPACE, who.svc, who.steps, 1, "", [], most)

    with pytest.raises(ResourceExhausted, match="sessions_per_principal_max"):
        one_more(irs, 1)
    one_more(irs, 2)
    one_more(Hands(world, "Fsa", "ask"), 1)
