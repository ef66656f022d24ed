"""SIGTERM ends streams with a place to resume from; nothing acknowledged is lost, and who comes back misses nothing."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from google.protobuf.duration_pb2 import Duration
from hmsact import Checkpoint
from hmsact.testing import Daemon
from hmsact.v1 import operation_pb2, timeline_pb2

from tests.e2e.raw import OFFICER, WITHIN_S, Caller, RawWorker, checkpoint, eventually, hello, reason_of, refused, step
from tests.e2e.scrape import fetch

ENDS_WITHIN_S = 10


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    """Each test stops one of its own."""
    with Daemon() as daemon:
        yield daemon


def test_streams_end_with_unavailable_and_their_cursors_resume_at_the_next_daemon(daemon: Daemon) -> None:
    with Caller(daemon.address) as developer, Caller(daemon.address, OFFICER) as officer:
        operation_id = developer.start(checkpoint())
        officer.steer("claim", operation_id)
        request = timeline_pb2.WatchOperationRequest(operation_id=operation_id)
        frames = developer.stream(developer.timelines.WatchOperation, request)
        seen = [next(frames).event for _ in range(3)]
        wait = operation_pb2.WaitOperationRequest(operation_id=operation_id, timeout=Duration(seconds=600))
        reasons: list[str] = []
        waiting = threading.Thread(
            target=lambda: reasons.append(reason_of(lambda: developer.call(developer.operations.WaitOperation, wait)))
        )
        waiting.start()
        began = time.monotonic()
        assert daemon.stop() == 0
        assert time.monotonic() - began < ENDS_WITHIN_S
        with refused("UNAVAILABLE", "SHUTTING_DOWN"):
            next(frames)
        waiting.join()
        assert reasons in (["SHUTTING_DOWN"], [""])
        with refused("UNAVAILABLE"):
            developer.get(operation_id)
    daemon.start()
    with Caller(daemon.address) as developer, Caller(daemon.address, OFFICER) as officer:
        request.after = seen[-1].cursor
        frames = developer.stream(developer.timelines.WatchOperation, request)
        officer.steer("approve", operation_id)
        seen += [frame.event for frame in frames if frame.WhichOneof("frame") == "event"]
        assert seen == developer.events(operation_id)


def test_the_events_of_the_sdk_go_on_over_restarts_by_themselves(daemon: Daemon) -> None:
    with (
        # Outermost: if the test fails, its clients are closed before the reader is waited for.
        ThreadPoolExecutor(1) as pool,
        daemon.orchestrator() as act,
        daemon.orchestrator(OFFICER) as officer,
    ):
        operation = act.start(name="flow", steps=[Checkpoint("review", role="fsa.officer")])
        reading = pool.submit(lambda: [event.sequence for event in act.events(operation, all=True)])
        for is_crash in (False, True, False):
            officer.pause(operation)
            officer.resume(operation)
            if is_crash:
                daemon.kill()
            else:
                assert daemon.stop() == 0
            daemon.start()
        officer.approve(operation, "review")
        assert reading.result(WITHIN_S) == list(range(1, 2 + 3 * 2 + 2 + 1))


def test_workers_are_told_and_find_their_calls_again(daemon: Daemon) -> None:
    with Caller(daemon.address) as developer, Caller(daemon.address, "dev:svc/IRS") as irs:
        operation_id = developer.start(step())
        with RawWorker(irs, hello()) as worker:
            session, attempt = worker.welcome().session, worker.call().attempt
            assert daemon.stop() == 0
            assert worker.is_draining
            with refused("UNAVAILABLE", "SHUTTING_DOWN"):
                worker.ended()
    daemon.start()
    with (
        Caller(daemon.address) as developer,
        Caller(daemon.address, "dev:svc/IRS") as irs,
        RawWorker(irs, hello(session=session, in_hand=[attempt])) as worker,
    ):
        assert list(worker.welcome().gone) == []
        worker.done(attempt)
        assert worker.judged() == ("RECORDED", "")
        assert developer.kinds(operation_id) == [
            "operation_started",
            "step_started",
            "step_done",
            "operation_completed",
        ]


def test_readiness_goes_first_and_a_watcher_that_reads_nothing_does_not_hold_the_daemon_up(daemon: Daemon) -> None:
    output = b'"' + b"x" * 250_000 + b'"'
    names = [f"s{number}" for number in range(48)]
    with Caller(daemon.address) as developer, Caller(daemon.address, "dev:svc/IRS") as irs:
        operation_id = developer.start(*(step(name) for name in names), checkpoint())
        with RawWorker(irs, hello(steps=names)) as worker:
            for _ in names:
                worker.done(worker.call().attempt, output)
                assert worker.judged() == ("RECORDED", "")
        request = timeline_pb2.WatchOperationRequest(operation_id=operation_id)
        stalled = developer.stream(developer.timelines.WatchOperation, request, timeout_s=60)
        next(stalled)
        assert daemon.pid is not None
        began = time.monotonic()
        os.kill(daemon.pid, signal.SIGTERM)
        eventually(lambda: fetch(daemon, "/readyz") == (503, '{"ready":false,"reason":"stopping"}'))
        assert daemon.stop() == 0
        assert time.monotonic() - began < ENDS_WITHIN_S
        stalled.cancel()
    daemon.start()
    with Caller(daemon.address) as developer:
        assert len(developer.events(operation_id)) == 2 * len(names) + 2
        assert fetch(daemon, "/readyz")[0] == 200


def test_whatever_was_acknowledged_before_the_end_is_there_after_it(daemon: Daemon) -> None:
    acknowledged: list[str] = []

    def start_until_it_ends() -> None:
        with Caller(daemon.address) as developer:
            while not reason_of(lambda: acknowledged.append(developer.start(checkpoint()))) and not is_over.is_set():
                pass

    is_over = threading.Event()
    starters = [threading.Thread(target=start_until_it_ends) for _ in range(4)]
    for starter in starters:
        starter.start()
    eventually(lambda: len(acknowledged) > 50)
    assert daemon.stop() == 0
    is_over.set()
    for starter in starters:
        starter.join()
    daemon.start()
    with Caller(daemon.address) as developer:
        assert developer.count() >= len(acknowledged)
        for operation_id in acknowledged:
            assert developer.get(operation_id).sequence == 2


def test_a_worker_that_says_nothing_does_not_hold_the_daemon_up(daemon: Daemon) -> None:
    with Caller(daemon.address) as developer, RawWorker(developer) as silent:
        developer.start(checkpoint())
        began = time.monotonic()
        assert daemon.stop() == 0
        assert time.monotonic() - began < ENDS_WITHIN_S
        with refused("UNAVAILABLE", "SHUTTING_DOWN"):
            silent.ended()
