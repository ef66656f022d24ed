"""Following a timeline: history, then live, through absences of the daemon, with nothing missed or told twice."""

from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from hmsact import AsyncOrchestrator, NotFound, Orchestrator, Unavailable
from hmsact.errors import HmsactError
from hmsact.v1 import operation_pb2, timeline_pb2
from hmsact.watch import Patience

from tests.sdk.fake import OPERATION, FakeDaemon, Turns, event, frame, operation, refuse

Frames = Iterator[timeline_pb2.WatchOperationResponse]

STORY = [
    event(1, "operation_started", by="dev:developer"),
    event(2, "step_started", "validate_form", attempt=1),
    event(3, "step_done", "validate_form", attempt=1),
    event(4, "step_started", "eligibility_check", attempt=1, after_s=0.5),
    event(5, "step_failed", "eligibility_check", attempt=1, after_s=1, retry=1, retries=3, code="HTTP_502"),
    event(6, "step_done", "eligibility_check", attempt=2, after_s=3.4),
    event(7, "checkpoint_pending", "human_review", after_s=3.5, by="system:hmsactd", role="fsa.officer"),
    event(8, "operation_completed", after_s=5, by="system:hmsactd"),
]
NARRATED = [3, 5, 6, 7, 8]


@pytest.fixture(autouse=True)
def _operation(fake: FakeDaemon) -> None:
    fake.on("GetOperation", operation_pb2.GetOperationResponse(operation=operation()))


def whole_story(request: Any, context: Any) -> Frames:
    """The daemon, if nothing goes wrong."""
    after = int(request.after.removeprefix("cursor-") or 0)
    yield from (frame(told) for told in STORY if told.sequence > after)


def cut_off(after: int, code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE) -> Any:
    """The daemon, if it goes down after an event."""

    def behave(request: Any, context: Any) -> Frames:
        for told in whole_story(request, context):
            yield told
            if told.event.sequence == after:
                refuse(context, code, "the daemon is shutting down", "SHUTTING_DOWN")

    return behave


def test_the_narrated_kinds_read_as_in_the_contract(fake: FakeDaemon, act: Orchestrator) -> None:
    fake.on("WatchOperation", whole_story)
    assert [str(told) for told in act.events("01jnz")] == [
        "00:00 VALIDATE_FORM → done",
        "00:01 ELIGIBILITY_CHECK → failed, retry 1/3",
        "00:03 ELIGIBILITY_CHECK → done",
        "00:03 HUMAN_REVIEW → pending (waiting on officer)",
        "00:05 LOAN_FORGIVENESS → completed",
    ]
    assert fake.requests("GetOperation")[0].operation_id == "01jnz"
    assert fake.requests("WatchOperation")[0].operation_id == OPERATION


def test_everything_is_told_when_asked_for(fake: FakeDaemon, act: Orchestrator) -> None:
    fake.on("WatchOperation", whole_story)
    told = list(act.events(OPERATION, all=True, records=True))
    assert [each.sequence for each in told] == list(range(1, 9))
    assert fake.requests("WatchOperation")[0].with_records
    failed = told[4]
    assert (failed.kind, failed.name, failed.attempt, failed.svc) == ("step_failed", "eligibility_check", 1, "IRS")
    assert failed.data["code"] == "HTTP_502"
    assert failed.principal.id == "dev:svc/FSA"
    assert failed.state == "running"


def test_a_reader_in_the_middle_still_knows_the_start(fake: FakeDaemon, act: Orchestrator) -> None:
    fake.on("WatchOperation", whole_story)
    first = next(iter(act.events(OPERATION)))
    second = next(act.events(OPERATION, after=first))
    assert str(second) == "00:01 ELIGIBILITY_CHECK → failed, retry 1/3"
    assert [told.sequence for told in act.events(OPERATION, after="cursor-6")] == [7, 8]


@pytest.mark.parametrize("after", range(1, 9))
def test_an_absence_after_any_event_leaves_no_gap_and_no_repetition(
    fake: FakeDaemon, act: Orchestrator, after: int
) -> None:
    fake.on("WatchOperation", Turns(cut_off(after), whole_story))
    assert [told.sequence for told in act.events(OPERATION, all=True)] == list(range(1, 9))
    assert [asked.after for asked in fake.requests("WatchOperation")] == ["", f"cursor-{after}"]


def test_a_broken_connection_is_resumed_when_the_daemon_is_back(fake: FakeDaemon, act: Orchestrator) -> None:
    fake.on("WatchOperation", Turns(cut_off(5, grpc.StatusCode.CANCELLED), cut_off(6), whole_story))
    told = act.events(OPERATION)
    assert next(told).sequence == 3
    fake.stop()
    fake.start()
    assert [each.sequence for each in told] == NARRATED[1:]


def test_what_a_daemon_repeats_is_told_once(fake: FakeDaemon, act: Orchestrator) -> None:
    def forgetful(request: Any, context: Any) -> Frames:
        yield from map(frame, STORY)

    fake.on("WatchOperation", Turns(cut_off(6), forgetful))
    assert [told.sequence for told in act.events(OPERATION)] == NARRATED


def test_a_heartbeat_moves_the_cursor_and_tells_nothing(fake: FakeDaemon, act: Orchestrator) -> None:
    def idle(request: Any, context: Any) -> Frames:
        yield timeline_pb2.WatchOperationResponse(heartbeat=timeline_pb2.Heartbeat(sequence=2, cursor="cursor-2"))
        refuse(context, grpc.StatusCode.UNAVAILABLE, "shutting down")

    fake.on("WatchOperation", Turns(idle, whole_story))
    assert [told.sequence for told in act.events(OPERATION, all=True)] == list(range(3, 9))


def test_what_does_not_pass_ends_the_stream(fake: FakeDaemon, act: Orchestrator) -> None:
    fake.on("WatchOperation", cut_off(5, grpc.StatusCode.NOT_FOUND))
    told = act.events(OPERATION)
    assert [next(told).sequence, next(told).sequence] == [3, 5]
    with pytest.raises(NotFound):
        next(told)


def test_no_follow_ends_after_what_is_recorded(fake: FakeDaemon, act: Orchestrator) -> None:
    fake.on("WatchOperation", whole_story)
    list(act.events(OPERATION, follow=False))
    assert fake.requests("WatchOperation")[0].no_follow


def test_leaving_the_loop_ends_the_call(fake: FakeDaemon, act: Orchestrator) -> None:
    ended: list[bool] = []

    def watched(request: Any, context: Any) -> Frames:
        context.add_callback(lambda: ended.append(True))
        yield from whole_story(request, context)

    fake.on("WatchOperation", watched)
    told = act.events(OPERATION)
    next(told)
    told.close()  # type: ignore[attr-defined]  # it is a generator
    fake.stop()
    assert ended == [True]


def test_patience_ends_and_delays_grow() -> None:
    patience = Patience(patience_s=1e9)
    gone = Unavailable("gone")
    delays = [patience.lost_s(gone) for _ in range(12)]
    assert delays[0] <= 0.1
    assert 2.5 <= delays[-1] <= 5.0
    impatient = Patience(patience_s=-1.0)
    with pytest.raises(Unavailable):
        impatient.lost_s(gone)
    with pytest.raises(HmsactError):
        patience.lost_s(NotFound("there is none"))


async def test_the_asynchronous_client_resumes_alike(fake: FakeDaemon) -> None:
    fake.on("WatchOperation", Turns(cut_off(5), cut_off(6, grpc.StatusCode.CANCELLED), whole_story))
    async with AsyncOrchestrator(fake.address) as act:
        assert [told.sequence async for told in act.events(OPERATION)] == NARRATED
