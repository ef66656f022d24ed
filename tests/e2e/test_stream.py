"""Following every operation of a real daemon: nothing is missed or repeated, however badly somebody reads."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import psutil
import pytest
from hmsact import AsyncOrchestrator, Checkpoint, Orchestrator
from hmsact.note import VerifierKey
from hmsact.testing import Daemon
from hmsact.v1 import timeline_pb2 as pb

from tests.e2e.raw import OFFICER, WITHIN_S, Caller, RawWorker, checkpoint, eventually, hello, refused, step
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


@pytest.fixture
def act(daemon: Daemon) -> Iterator[Orchestrator]:
    with daemon.orchestrator() as act:
        yield act


@contextmanager
def watching(caller: Caller, **fields: Any) -> Iterator[Any]:
    """The messages of a stream, which is cut when the test has seen enough."""
    stream = caller.stream(caller.timelines.WatchEvents, pb.WatchEventsRequest(**fields))
    try:
        yield stream
    finally:
        stream.cancel()


def events_of(messages: Any) -> Iterator[pb.PlacedEvent]:
    return (placed for message in messages for placed in message.events)


def test_it_begins_with_the_next_event_and_tells_of_every_operation(developer: Caller, officer: Caller) -> None:
    before = developer.start(checkpoint())
    with watching(developer) as messages:
        first = next(messages)
        assert first.from_position == first.to_position == first.size
        one, other = developer.start(checkpoint()), developer.start(checkpoint())
        officer.steer("approve", before)
        seen = list(islice(events_of(messages), 6))
    assert [(placed.event.operation_id, placed.event.kind) for placed in seen] == [
        (one, "operation_started"),
        (one, "checkpoint_pending"),
        (other, "operation_started"),
        (other, "checkpoint_pending"),
        (before, "checkpoint_approved"),
        (before, "operation_completed"),
    ]
    assert [placed.position for placed in seen] == list(range(first.size, first.size + 6))
    assert {placed.definition for placed in seen} == {"flow"}


def test_its_events_are_those_of_the_timelines(developer: Caller) -> None:
    operation_id = developer.start(step(), checkpoint(), input=b'{"year":2026}')
    chosen = pb.EventFilter(operations=[operation_id])
    with watching(developer, filter=chosen, from_beginning=True, no_follow=True, with_payloads=True) as messages:
        seen = [placed.event for placed in events_of(messages)]
    listed = developer.events(operation_id)
    for event in (*seen, *listed):
        event.ClearField("cursor")
    assert seen == listed


def test_an_idle_stream_says_where_the_head_is(developer: Caller) -> None:
    with watching(developer) as messages:
        beats = list(islice(messages, 4))
    assert {(beat.from_position, beat.to_position) for beat in beats} == {(beats[0].size, beats[0].size)}
    assert beats[0].time.ToNanoseconds() < beats[-1].time.ToNanoseconds()
    with watching(developer, after=beats[-1].cursor, no_follow=True) as messages:
        assert not list(events_of(messages))


def test_one_stream_too_many_is_refused(daemon: Daemon, developer: Caller) -> None:
    streams = [developer.stream(developer.timelines.WatchEvents, pb.WatchEventsRequest()) for _ in range(STREAMS_MAX)]
    try:
        for stream in streams:
            next(stream)
        eventually(lambda: scrape(daemon)["hmsact_event_streams"] == STREAMS_MAX)
        with refused("RESOURCE_EXHAUSTED", "STREAMS_MAX"), watching(developer) as messages:
            next(messages)
    finally:
        for stream in streams:
            stream.cancel()
    eventually(lambda: scrape(daemon)["hmsact_event_streams"] == 0)


def test_who_is_not_known_is_not_told_anything(daemon: Daemon) -> None:
    with Caller(daemon.address, "dev:nobody") as stranger, refused("UNAUTHENTICATED"), watching(stranger) as messages:
        next(messages)


def test_another_namespace_is_another_stream(developer: Caller) -> None:
    developer.start(checkpoint())
    with watching(developer, namespace="elsewhere", from_beginning=True, no_follow=True) as messages:
        told = list(messages)
    assert told[-1].to_position == told[-1].size > 0
    assert not list(events_of(told))
    with refused("INVALID_ARGUMENT") as refusal, watching(developer, after=told[-1].cursor) as messages:
        next(messages)
    assert refusal.violations == [("after", "CURSOR_OF_ANOTHER_QUERY")]


def test_a_follower_that_reads_nothing_costs_a_bounded_amount_and_misses_nothing(
    daemon: Daemon, developer: Caller
) -> None:
    # More than what fits between a daemon that sends and a client that does not read.
    names = [f"s{number}" for number in range(96)]
    output = b'"' + b"x" * 250_000 + b'"'
    operation_id = developer.start(*(step(name, svc="Large") for name in names))
    chosen = pb.EventFilter(operations=[operation_id])
    asked: dict[str, Any] = {"filter": chosen, "from_beginning": True, "with_payloads": True}
    process = psutil.Process(daemon.pid)
    with (
        watching(developer, **asked) as stalled,
        watching(developer, **asked) as reading,
        Caller(daemon.address, "dev:svc/Large") as large,
        RawWorker(large, hello("Large", names)) as worker,
    ):
        before = process.memory_info().rss
        for _ in names:
            worker.done(worker.call().attempt, output)
            assert worker.judged() == ("RECORDED", "")
        count = 2 * len(names) + 2
        assert [placed.event.sequence for placed in islice(events_of(reading), count)] == list(range(1, count + 1))
        lag = eventually(lambda: scrape(daemon)["hmsact_follower_lag_events"])
        grown = process.memory_info().rss - before
        assert lag > 0
        # What gRPC takes for a stalled stream, frames that are kept, the database's pages: not the 24 MB twice over.
        assert grown < 80 * 1024 * 1024, f"{grown / 1e6:.0f} MB"
        assert [placed.event.sequence for placed in islice(events_of(stalled), count)] == list(range(1, count + 1))
    eventually(lambda: scrape(daemon)["hmsact_event_streams"] == 0)
    assert scrape(daemon)["hmsact_follower_lag_events"] == 0


async def test_coroutines_follow_and_prove(daemon: Daemon, act: Orchestrator) -> None:
    async with AsyncOrchestrator(daemon.address) as following:
        stream = following.stream(from_start=True, all=True, follow=False, prove=True)
        positions = [event.position async for event in stream]
    assert positions == list(range(stream.size))
    assert stream.proved_size == stream.size == act.info().log_size


def test_a_stream_can_be_closed_by_another_thread(act: Orchestrator) -> None:
    stream = act.stream()
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(lambda: list(stream))
        eventually(lambda: stream.cursor)
        stream.close()
        assert reading.result(WITHIN_S) == []


def test_the_command_line_proves_what_it_shows_and_remembers_the_key(
    daemon: Daemon, act: Orchestrator, tmp_path: Path
) -> None:
    act.start(name="flow", steps=[Checkpoint("review", role="fsa.officer")])

    def hmsact(*arguments: str) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"HMSACT_KNOWN": str(tmp_path / "known"), "HMSACT_ADDRESS": daemon.address}
        program = [sys.executable, "-c", "from hmsact.cli import main; main()", "watch", *arguments]
        return subprocess.run(program, capture_output=True, text=True, env=environment, timeout=WITHIN_S, check=False)

    size = act.info().log_size
    said = hmsact("--from-start", "--no-follow", "--prove", "--all")
    assert said.returncode == 0, said.stderr
    assert len(said.stdout.splitlines()) == size
    assert f"Proved up to record {size}" in said.stderr
    known = tmp_path / "known"
    name, key = known.read_text().split()
    known.write_text(f"{name} {VerifierKey(name, bytes(32))}\n")
    assert key == act.info().verifier_key
    said = hmsact("--from-start", "--no-follow", "--prove")
    assert (said.returncode, said.stdout) == (1, "")
    assert "remembered with another key" in said.stderr


# -- daemons that go and come back -------------------------------------------------------------------------------------


@pytest.fixture
def mortal() -> Iterator[Daemon]:
    """Each test stops one of its own."""
    with Daemon() as daemon:
        yield daemon


def test_it_goes_on_over_restarts_and_kills_with_nothing_lost_or_repeated(mortal: Daemon) -> None:
    with (
        # Outermost: if the test fails, its clients are closed before the readers are waited for.
        ThreadPoolExecutor(3) as pool,
        mortal.orchestrator() as act,
        mortal.orchestrator() as watching_act,
        mortal.orchestrator(OFFICER) as officer,
    ):
        streams = [
            watching_act.stream(from_start=True, all=True, prove=True),
            watching_act.stream(from_start=True, all=True),
            watching_act.stream(from_start=True, kinds=("operation_completed",), prove=True),
        ]
        seen: list[list[int | None]] = [[] for _ in streams]

        def read(stream: Any, found: list[int | None]) -> None:
            for event in stream:
                found.append(event.position)
                if event.operation_name == "last" and event.kind == "operation_completed":
                    return

        readers = [pool.submit(read, stream, found) for stream, found in zip(streams, seen, strict=True)]
        for number in range(6):
            operation = act.start(name="flow", steps=[Checkpoint("review", role="fsa.officer")])
            officer.approve(operation, "review")
            if number % 2:
                mortal.kill()
            else:
                assert mortal.stop() == 0
            mortal.start()
        operation = act.start(name="last", steps=[Checkpoint("review", role="fsa.officer")])
        officer.approve(operation, "review")
        for reader in readers:
            reader.result(WITHIN_S)
        size = act.info().log_size
    assert seen[0] == seen[1] == list(range(size))
    assert seen[2] == list(range(3, size, 4))


def test_a_stream_ends_with_a_cursor_that_resumes_at_the_next_daemon(mortal: Daemon) -> None:
    with Caller(mortal.address) as developer:
        developer.start(checkpoint())
        with watching(developer, from_beginning=True) as messages:
            seen = [next(messages), next(messages)]
            assert mortal.stop() == 0
            with refused("UNAVAILABLE", "SHUTTING_DOWN") as refusal:
                next(messages)
    assert refusal.metadata == {"cursor": seen[-1].cursor}
    mortal.start()
    with Caller(mortal.address) as developer, watching(developer, after=refusal.metadata["cursor"]) as messages:
        next(messages)
        operation_id = developer.start(checkpoint())
        assert next(events_of(messages)).event.operation_id == operation_id


def test_a_restored_database_is_found_out_by_who_had_followed_it(tmp_path: Path) -> None:
    directory, backup = tmp_path / "data", tmp_path / "backup"
    with Daemon(directory) as daemon:
        with daemon.orchestrator() as act:
            act.start(name="flow", steps=[Checkpoint("review", role="fsa.officer")])
        assert daemon.stop() == 0
        backup.mkdir()
        for file in directory.iterdir():
            (backup / file.name).write_bytes(file.read_bytes())
        daemon.start()
        with daemon.orchestrator() as act:
            act.start(name="flow", steps=[Checkpoint("review", role="fsa.officer")])
            stream = act.stream(from_start=True, all=True, follow=False)
            assert len(list(stream)) == 4
        assert daemon.stop() == 0
        for file in backup.iterdir():
            (directory / file.name).write_bytes(file.read_bytes())
        for leftover in directory.glob("*-wal"):
            leftover.unlink()
        daemon.start()
        with Caller(daemon.address) as developer:
            with (
                refused("FAILED_PRECONDITION", "CURSOR_AHEAD") as refusal,
                watching(developer, after=stream.cursor) as messages,
            ):
                next(messages)
            assert refusal.metadata == {"position": "4", "size": "2"}
            for _ in range(2):
                developer.start(checkpoint())
            with (
                refused("FAILED_PRECONDITION", "CURSOR_DIVERGED"),
                watching(developer, after=stream.cursor) as messages,
            ):
                next(messages)


def test_the_first_event_after_a_silence_is_told_at_once(act: Orchestrator) -> None:
    stream = act.stream(all=True)
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(lambda: (next(stream), time.monotonic()))
        eventually(lambda: stream.cursor)
        act.start(name="flow", steps=[Checkpoint("review", role="fsa.officer")])
        recorded_at = time.monotonic()
        event, told_at = reading.result(WITHIN_S)
    stream.close()
    assert event.kind == "operation_started"
    assert told_at - recorded_at < 1
    assert json.dumps(event.as_json())
