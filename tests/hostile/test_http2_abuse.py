"""Raw HTTP/2 at its worst, against a real daemon: it serves others, gives everything back, and says nothing of it."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path

import pytest
from grpc_health.v1 import health_pb2
from hmsact.v1 import operation_pb2, timeline_pb2

from hmsactd.rpc import transport
from tests.e2e.raw import Caller, definition, refused, step
from tests.faults.tower import Tower, until
from tests.hostile.crowd import bystander, descriptors, rss_mib
from tests.hostile.http2 import (
    INITIAL_WINDOW_SIZE,
    WINDOW_USUAL,
    Connection,
    Kind,
    connected,
    frame,
    header_block,
    literal,
)

COUNT = "/hmsact.v1.OperationService/CountOperations"
WATCH = "/hmsact.v1.TimelineService/WatchEvents"
HEALTH = "/grpc.health.v1.Health/Watch"
STREAMS = 1_000
ROUNDS = 4
"""The first of which warms up."""

WAIT_MAX_S = 3.0
"""How long a bystander may wait at worst, on a machine that others use."""

GROWTH_MAX_MIB = 40
"""By how much memory may grow over three rounds: what is collected only now and then."""


@pytest.fixture(scope="module")
def tower(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tower]:
    tower = Tower(tmp_path_factory.mktemp("abused") / "data")
    tower.start()
    with Caller(tower.address) as developer:
        for _ in range(20):
            developer.start(definition=definition(step(), name="flow"), input=b'"' + b"x" * 100_000 + b'"')
    yield tower
    assert tower.stop() == 0


@pytest.fixture(scope="module")
def silent(tower: Tower) -> Iterator[list[socket.socket]]:
    """Connections that were opened before anything else, and have said nothing, or half of what there is to say."""
    with ExitStack() as stack:
        found = [stack.enter_context(connected(tower.address)) for _ in range(20)]
        for each in found[:10]:
            each.sendall(b"PRI * HTTP/2.0\r\n")
        found += [stack.enter_context(connected(tower.http)) for _ in range(10)]
        for each in found[20:]:
            each.sendall(b"GET /metrics HTTP/1.1\r\nhost: x\r\n")
        yield found


def opened_and_reset(address: str) -> None:
    with Connection(address) as client:
        for _ in range(5 * STREAMS // 100):
            client.send(
                b"".join(
                    client.calling(COUNT, operation_pb2.CountOperationsRequest()) + client.reset() for _ in range(100)
                )
            )
        reset = [each for each in client.frames(0.2) if each.kind == Kind.RST_STREAM]
        assert len(reset) > STREAMS, "what is beyond its bound is refused"


def asked_and_no_request(address: str) -> None:
    with Connection(address) as client:
        for _ in range(STREAMS // 2):
            client.call(COUNT)
        streams = [client.call(COUNT, token="nobody") for _ in range(STREAMS // 2)]
        assert client.ended(streams), "whoever is not known is refused before the request has come"


def half_a_request(address: str) -> None:
    with Connection(address) as client:
        for _ in range(10):
            stream = client.call(COUNT)
            client.send(frame(Kind.DATA, 0, stream, struct.pack(">BI", 0, 4_000_000) + b"x" * 6_000))


def never_read(address: str) -> None:
    with ExitStack() as stack:
        for number, window in enumerate((0, WINDOW_USUAL, 2**31 - 1)):
            client = stack.enter_context(Connection(address, window=window))
            request = timeline_pb2.WatchEventsRequest(from_beginning=True, with_payloads=True)
            for _ in range(50):
                client.call(WATCH, request, token=f"dev:svc/Stalled{number}")
        with Caller(address) as developer:
            developer.start(step())


def health_watched_by_nobody(address: str) -> None:
    with Connection(address) as client:
        for _ in range(STREAMS // 2):
            client.call(HEALTH, health_pb2.HealthCheckRequest())
        refused = (each for each in client.frames() if each.ends_stream)
        assert len(list(islice(refused, STREAMS // 2 - 200))) == STREAMS // 2 - 200, "all of them have 200 places"


def headers_without_end(address: str) -> None:
    with Connection(address) as client:
        try:
            client.send(frame(Kind.HEADERS, 0, 1, header_block(COUNT)))
            for _ in range(200):
                client.send(frame(Kind.CONTINUATION, 0, 1, literal("x", "y" * 8_000) * 2))
        except ConnectionError:
            return
        assert client.is_cut()


def pings(address: str) -> None:
    with Connection(address) as client:
        try:
            for _ in range(200):
                client.send(frame(Kind.PING, payload=b"12345678") * 100)
            assert any(each.kind == Kind.GOAWAY for each in client.frames())
        except ConnectionError:
            return


def settings(address: str) -> None:
    with Connection(address) as client:
        for _ in range(200):
            client.send(frame(Kind.SETTINGS, payload=struct.pack(">HI", INITIAL_WINDOW_SIZE, WINDOW_USUAL)) * 100)
        assert sum(each.kind == Kind.SETTINGS for each in client.frames(0.5)) > 1


def goaway_and_cut_in_midstream(address: str) -> None:
    for says_so in (True, False):
        with Connection(address) as client:
            for _ in range(50):
                client.call(WATCH, timeline_pb2.WatchEventsRequest(from_beginning=True), token="dev:svc/Leaver")
            next(each for each in client.frames() if each.kind == Kind.DATA)
            if says_so:
                client.send(frame(Kind.GOAWAY, payload=struct.pack(">II", 0, 0)))
            whole = client.calling(COUNT, operation_pb2.CountOperationsRequest(filter="x" * 10_000))
            client.send(whole[: len(whole) // 2])


ABUSES: list[Callable[[str], None]] = [
    opened_and_reset,
    asked_and_no_request,
    half_a_request,
    never_read,
    health_watched_by_nobody,
    headers_without_end,
    pings,
    settings,
    goaway_and_cut_in_midstream,
]


@pytest.mark.parametrize("abuse", ABUSES)
def test_others_are_served_and_everything_comes_back(
    tower: Tower,
    silent: list[socket.socket],
    abuse: Callable[[str], None],
    record_testsuite_property: Callable[[str, object], None],
) -> None:
    rss, open_before = list[float](), descriptors(tower)
    waits_s: list[float] = []
    with bystander(tower.address, waits_s):
        for _ in range(ROUNDS):
            abuse(tower.address)
            rss.append(rss_mib(tower))
    figures = {
        "asked": len(waits_s),
        "p50_ms": round(1000 * sorted(waits_s)[len(waits_s) // 2], 1),
        "longest_ms": round(1000 * max(waits_s)),
        "grown_mib": round(rss[-1] - rss[0], 1),
    }
    record_testsuite_property(abuse.__name__, figures)
    assert max(waits_s) < WAIT_MAX_S
    assert rss[-1] - rss[0] < GROWTH_MAX_MIB, rss
    until(lambda: descriptors(tower) <= open_before, "connections are given back")
    assert tower.is_ready()
    assert tower.said() == "", "nothing of it is worth a line"


def test_who_says_nothing_or_half_of_it_is_cut_off(tower: Tower, silent: list[socket.socket]) -> None:
    for each in silent:
        each.settimeout(transport.HANDSHAKE_MS / 1000 + 5)
        while each.recv(1 << 16):
            pass


def test_who_brings_too_many_calls_of_all_together_is_told_so(tmp_path: Path) -> None:
    tower = Tower(tmp_path / "data", environment={"HMSACTD_GRPC__STREAMS_MAX": "3"})
    tower.start()
    try:
        # Kept, since gRPC cancels what nobody has any more.
        streams = []
        with ExitStack() as stack:
            for number in range(3):
                client = stack.enter_context(Caller(tower.address, f"dev:svc/Follower{number}"))
                streams.append(client.stream(client.timelines.WatchEvents, timeline_pb2.WatchEventsRequest()))
                next(streams[-1])
            with Caller(tower.address) as developer, refused("RESOURCE_EXHAUSTED", "ALL_STREAMS_MAX") as refusal:
                next(developer.stream(developer.timelines.WatchEvents, timeline_pb2.WatchEventsRequest()))
        assert "grpc.streams_max" in refusal.sentence
        assert refusal.retry_after_s == 5
    finally:
        tower.stop()
