"""Watching an operation: history, then live, without gap or repetition, whoever else watches and however badly."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from hmsact.testing import Daemon
from hmsact.v1 import event_pb2, operation_pb2, timeline_pb2

from tests.e2e.raw import OFFICER, Caller, RawWorker, checkpoint, eventually, hello, reason_of, refused, step
from tests.e2e.scrape import scrape

STREAMS_MAX = 5

SETTINGS = f"""
[streams]
heartbeat = "100ms"
[bounds]
streams_per_principal_max = {STREAMS_MAX}
"""


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon whose idle streams speak often, and that lets a principal have few of them."""
    config: Path = tmp_path_factory.mktemp("settings") / "hmsactd.toml"
    config.write_text(SETTINGS)
    with Daemon(arguments=["--config", str(config)]) as daemon:
        yield daemon


@contextmanager
def watching(caller: Caller, operation_id: str, after: str = "", **fields: Any) -> Iterator[Any]:
    """The frames of a stream, which is cut when the test has seen enough."""
    request = timeline_pb2.WatchOperationRequest(operation_id=operation_id, after=after, **fields)
    stream = caller.stream(caller.timelines.WatchOperation, request)
    try:
        yield stream
    finally:
        stream.cancel()


def events_of(frames: Any) -> Iterator[event_pb2.Event]:
    return (frame.event for frame in frames if frame.WhichOneof("frame") == "event")


def toggle(caller: Caller, operation_id: str, times: int, reason: str = "") -> None:
    """Make history: two events each time."""
    for _ in range(times):
        caller.steer("pause", operation_id, reason=reason)
        caller.steer("resume", operation_id, reason=reason)


def test_history_comes_first_then_what_happens_and_the_final_state_ends_it(developer: Caller, officer: Caller) -> None:
    operation_id = developer.start(checkpoint())
    with watching(developer, operation_id) as frames:
        seen = list(islice(events_of(frames), 2))
        officer.steer("claim", operation_id)
        officer.steer("approve", operation_id)
        seen += events_of(frames)
    assert [event.kind for event in seen] == [
        "operation_started",
        "checkpoint_pending",
        "checkpoint_claimed",
        "checkpoint_approved",
        "operation_completed",
    ]
    assert seen == developer.events(operation_id)


def test_every_frame_says_the_state_of_then(developer: Caller, officer: Caller) -> None:
    operation_id = developer.start(checkpoint())
    toggle(officer, operation_id, 1)
    officer.steer("reject", operation_id)
    with watching(developer, operation_id) as frames:
        states = [operation_pb2.OperationState.Name(frame.state).removeprefix("OPERATION_STATE_") for frame in frames]
    assert states == ["RUNNING", "WAITING", "PAUSED", "WAITING", "WAITING", "REJECTED"]


@pytest.mark.parametrize("resume_from", ["event", "heartbeat"])
def test_twenty_cut_connections_leave_no_gap_and_repeat_nothing(
    daemon: Daemon, developer: Caller, resume_from: str
) -> None:
    operation_id = developer.start(checkpoint())
    cuts, toggles = 20, 30

    def act() -> None:
        with Caller(daemon.address, OFFICER) as officer:
            toggle(officer, operation_id, toggles)
            may_end.wait()
            officer.steer("approve", operation_id)

    may_end = threading.Event()
    acting = threading.Thread(target=act)
    acting.start()
    seen: list[int] = []
    after = ""
    for cut in range(cuts):
        with watching(developer, operation_id, after) as frames:
            for frame in frames:
                if frame.WhichOneof("frame") == "event":
                    seen.append(frame.event.sequence)
                    after = frame.event.cursor
                    if resume_from == "event" and len(seen) > cut:
                        break
                else:
                    assert frame.heartbeat.sequence == seen[-1]
                    after = frame.heartbeat.cursor
                    break
    may_end.set()
    with watching(developer, operation_id, after) as frames:
        seen += [event.sequence for event in events_of(frames)]
    acting.join()
    assert seen == list(range(1, 2 + 2 * toggles + 2 + 1))


def test_without_following_it_ends_at_what_is_recorded_now(developer: Caller) -> None:
    operation_id = developer.start(checkpoint())
    with watching(developer, operation_id, no_follow=True) as frames:
        seen = list(events_of(frames))
    assert [event.kind for event in seen] == ["operation_started", "checkpoint_pending"]
    with watching(developer, operation_id, seen[-1].cursor, no_follow=True) as frames:
        assert list(frames) == []
    with watching(developer, operation_id, seen[0].cursor, no_follow=True, with_records=True) as frames:
        (again,) = events_of(frames)
    assert again.record.startswith(b"{")


def test_an_idle_stream_says_where_the_head_is(developer: Caller, officer: Caller) -> None:
    operation_id = developer.start(checkpoint())
    with watching(developer, operation_id) as frames:
        last = list(islice(events_of(frames), 2))[-1]
        beats = [frame.heartbeat for frame in islice(frames, 3)]
        assert [beat.sequence for beat in beats] == [last.sequence] * 3
        assert {beat.cursor for beat in beats} == {last.cursor}
        assert beats[0].time.ToNanoseconds() < beats[-1].time.ToNanoseconds()
        officer.steer("claim", operation_id)
        assert next(events_of(frames)).kind == "checkpoint_claimed"


def test_a_stream_of_what_has_ended_ends_wherever_it_resumes(developer: Caller, officer: Caller) -> None:
    operation_id = developer.start(checkpoint())
    officer.steer("approve", operation_id)
    events = developer.events(operation_id)
    for index, event in enumerate(events):
        with watching(developer, operation_id, event.cursor) as frames:
            assert list(events_of(frames)) == events[index + 1 :]


def test_what_a_part_of_an_id_stands_for_is_resumed_by_the_whole_id(developer: Caller) -> None:
    operation_id = developer.start(checkpoint())
    with watching(developer, operation_id[-10:], no_follow=True) as frames:
        first = next(events_of(frames))
    with watching(developer, operation_id, first.cursor, no_follow=True) as frames:
        assert [event.sequence for event in events_of(frames)] == [2]


def test_watchers_do_not_mind_each_other(developer: Caller, officer: Caller) -> None:
    operation_id = developer.start(checkpoint())
    with watching(developer, operation_id) as one, watching(officer, operation_id) as other:
        first, second = events_of(one), events_of(other)
        for expected in ("operation_started", "checkpoint_pending"):
            assert next(first).kind == next(second).kind == expected
        one.cancel()
        officer.steer("approve", operation_id)
        assert [event.kind for event in second] == ["checkpoint_approved", "operation_completed"]


def test_a_watcher_that_reads_nothing_holds_nobody_up_and_misses_nothing(daemon: Daemon, developer: Caller) -> None:
    # More than what fits between a daemon that sends and a client that does not read.
    names = [f"s{number}" for number in range(48)]
    output = b'"' + b"x" * 250_000 + b'"'
    operation_id = developer.start(*(step(name, svc="Large") for name in names))
    with (
        watching(developer, operation_id) as stalled,
        watching(developer, operation_id) as reading,
        Caller(daemon.address, "dev:svc/Large") as large,
        RawWorker(large, hello("Large", names)) as worker,
    ):
        for _ in names:
            worker.done(worker.call().attempt, output)
            assert worker.judged() == ("RECORDED", "")
        sequences = [event.sequence for event in events_of(reading)]
        assert sequences == list(range(1, 2 * len(names) + 3))
        eventually(lambda: scrape(daemon)["hmsact_event_streams"] == 1)
        assert scrape(daemon)["hmsact_follower_lag_events"] > 0
        assert developer.get(developer.start(checkpoint())).state == operation_pb2.OPERATION_STATE_WAITING
        assert [event.sequence for event in events_of(stalled)] == sequences
    eventually(lambda: scrape(daemon)["hmsact_event_streams"] == 0)


def test_a_principal_has_so_many_streams_and_no_more(developer: Caller, officer: Caller) -> None:
    operation_id = developer.start(checkpoint())
    streams = []
    try:
        for _ in range(STREAMS_MAX):
            request = timeline_pb2.WatchOperationRequest(operation_id=operation_id)
            streams.append(developer.stream(developer.timelines.WatchOperation, request))
            next(streams[-1])
        with refused("RESOURCE_EXHAUSTED", "STREAMS_MAX") as refusal, watching(developer, operation_id) as frames:
            next(frames)
        assert str(STREAMS_MAX) in refusal.sentence
        with watching(officer, operation_id) as frames:
            assert next(frames).event.sequence == 1
        streams.pop().cancel()

        def one_more() -> None:
            with watching(developer, operation_id) as frames:
                next(frames)

        # The daemon notices in its own time that a stream was cut.
        eventually(lambda: not reason_of(one_more))
    finally:
        for stream in streams:
            stream.cancel()
