"""Callers who take back what they began, at any moment, over and over: the daemon's memory stays where it is."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest
from hmsact.v1 import operation_pb2, timeline_pb2

from tests.e2e.raw import Caller, checkpoint, hello
from tests.faults.tower import Tower, until
from tests.hostile.crowd import descriptors, rss_mib, slope
from tests.hostile.http2 import Connection

STREAMS = int(os.environ.get("HMSACT_SOAK_STREAMS", "6000"))
SEED = int(os.environ.get("HMSACT_SOAK_SEED", "20"))
ROUNDS = 20
"""Of so many, the first half warms up: until what is collected now and then has been, several times."""

AT_A_TIME = 40
STAYS_MAX_S = 0.03
"""The longest that a stream is left alone before it is taken back: from nothing done of it to all that can be."""

COLLECTS = """
import gc, os, pathlib, threading
from hmsactd.cli import main

def collect():
    while not ended.wait(0.1):
        gc.collect()
        draft.write_text(str(len(gc.get_objects())))
        draft.replace(count)

count = pathlib.Path(os.environ["OBJECTS"])
draft = count.with_suffix(".new")
ended = threading.Event()
threading.Thread(target=collect, daemon=True).start()
main()
"""
"""The daemon, with its garbage taken away at once: it puts that off, which would look like a leak for a while. What is
left is counted, since of a few thousand streams memory alone says little: it is still finding its size."""

OBJECTS_MAX = 0.5
"""How many of Python's objects may be left of a stream, on average: some are still ending when they are counted. One
that is kept has dozens."""

GROWTH_MAX_BYTES = 10_000 if STREAMS < 100_000 else 300
"""How much memory may grow for each stream, once warm; what is less is noise. One that is kept takes 7 to 20 KB."""

KIB = 1024


@pytest.fixture
def tower(tmp_path: Path) -> Iterator[Tower]:
    tower = Tower(tmp_path / "data", program=("-c", COLLECTS), environment={"OBJECTS": str(tmp_path / "objects")})
    tower.start()
    yield tower
    tower.kill()


def objects(directory: Path) -> int:
    """How many there are, by a count that began after this was asked."""
    count = directory / "objects"
    for _ in range(2):
        count.unlink()
        until(count.exists, "garbage is collected")
    return int(count.read_text())


def begun(client: Connection, chance: Random, operation_id: str) -> list[int]:
    """Streams of all kinds: what follows, what works, what waits, what asks, what starts."""
    service, watch = "/hmsact.v1.OperationService/", "/hmsact.v1.TimelineService/Watch"
    asked = [
        ("/hmsact.v1.WorkerService/Work", hello("Irs"), "dev:svc/Irs"),
        (f"{watch}Events", timeline_pb2.WatchEventsRequest(from_beginning=True), "dev:svc/Follower"),
        (f"{watch}Operation", timeline_pb2.WatchOperationRequest(operation_id=operation_id), "dev:svc/Watcher"),
        (f"{service}WaitOperation", operation_pb2.WaitOperationRequest(operation_id=operation_id), ""),
        (f"{service}GetOperation", operation_pb2.GetOperationRequest(operation_id=operation_id), ""),
        (f"{service}CountOperations", None, ""),
        (f"{service}StartOperations", operation_pb2.StartOperationsRequest(), "dev:svc/Portal"),
        (f"{service}CountOperations", operation_pb2.CountOperationsRequest(), "nobody"),
    ]
    streams = []
    for _ in range(AT_A_TIME):
        path, request, token = chance.choice(asked)
        ends = not path.endswith(("Work", "StartOperations"))
        streams.append(client.call(path, request, token=token, ends=ends))
    return streams


@pytest.mark.timeout(0 if "HMSACT_SOAK_STREAMS" in os.environ else 90)
def test_memory_does_not_grow_with_streams_that_are_taken_back(
    tower: Tower, tmp_path: Path, record_testsuite_property: Callable[[str, object], None]
) -> None:
    chance = Random(SEED)
    with Caller(tower.address) as developer:
        operation_id = developer.start(checkpoint())
    open_before, sizes, counts = descriptors(tower), list[float](), list[int]()
    per_round = STREAMS // ROUNDS
    for _ in range(ROUNDS):
        with Connection(tower.address) as client:
            for _ in range(per_round // AT_A_TIME):
                streams = begun(client, chance, operation_id)
                for _ in client.frames(chance.uniform(0, STAYS_MAX_S)):
                    pass
                client.send(b"".join(map(client.reset, streams)))
        until(lambda: tower.metric("hmsact_event_streams") == 0, "its streams end with a connection")
        sizes.append(rss_mib(tower))
        counts.append(objects(tmp_path))
    grown = slope(sizes[ROUNDS // 2 :]) * KIB * KIB / per_round
    record_testsuite_property("cancelled_streams", {"streams": STREAMS, "bytes_each": round(grown), "rss_mib": sizes})
    until(lambda: descriptors(tower) <= open_before, "connections are given back")
    assert tower.said() == ""
    left = slope(counts[ROUNDS // 2 :]) / per_round
    assert left < OBJECTS_MAX, counts
    assert grown < GROWTH_MAX_BYTES, [round(size) for size in sizes]
