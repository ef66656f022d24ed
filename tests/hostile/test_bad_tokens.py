"""Floods of bad tokens, over TLS: others are served, memory stays, the issuer is left alone, the log is silent."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from random import Random
from typing import Any

import grpc
import psutil
import pytest
from hmsact.v1 import operation_pb2, operation_pb2_grpc

from hmsactd.identity.api_token import make_token
from hmsactd.identity.key_source import ASKED_AGAIN_S
from hmsactd.rpc import transport
from tests.e2e.agency import Agency
from tests.e2e.test_provider import MADE_UP, person, trusting
from tests.hostile.crowd import slope
from tests.hostile.http2 import connected
from tests.identity.issuing import EC, STRANGER, said, token
from tests.identity.provider import KEYS, Provider

FLOOD = 4_000
ROUNDS = 8
"""The first half of which warms up."""

AT_A_TIME = 100
WAIT_MAX_S = 3.0
"""A tenth of it where nothing else runs; a machine that is shared is allowed some noise."""

GROWTH_MAX_BYTES = 14_000
"""How much memory may grow for each, once warm. A call that is kept takes 20 KB; of so few, less is noise."""


@pytest.fixture
def provider(tmp_path: Path) -> Iterator[Provider]:
    with Provider(tmp_path).serving() as provider:
        provider.publish(EC)
        yield provider


def bad_tokens(chance: Random, url: str) -> list[str]:
    """One of each sort: by whom it is signed, by what key, of what length, of what kind."""
    now = int(time.time())

    def claims(**more: Any) -> dict[str, Any]:
        return said(iss=url, sub=f"{chance.getrandbits(64)}", exp=now + 300, iat=now, **more)

    return [
        token(claims(), STRANGER),
        token(claims(), MADE_UP, kid=f"{chance.getrandbits(64):x}"),
        token(claims(name="x" * 4_000), STRANGER),
        make_token(),
        f"hmsact_{chance.getrandbits(200):x}",
        "x" * 8_000,
        "x" * 12_000,
    ]


def flooded(office: Agency, provider: Provider, tokens: list[str], waits_s: list[float]) -> set[str]:
    """As many bad tokens as there are in a round, many at a time, while somebody known asks; how the bad ones ended."""
    codes = set()
    request = operation_pb2.CountOperationsRequest()
    with person(office, provider) as viewer:
        viewer.whoami()
        with grpc.secure_channel(office.address, office.trusted()) as crowd:
            ask = operation_pb2_grpc.OperationServiceStub(crowd).CountOperations
            for start in range(0, FLOOD // ROUNDS, AT_A_TIME):
                shown = [tokens[number % len(tokens)] for number in range(start, start + AT_A_TIME)]
                calls = [ask.future(request, metadata=(("authorization", f"Bearer {each}"),)) for each in shown]
                began = time.monotonic()
                viewer.whoami()
                waits_s.append(time.monotonic() - began)
                codes |= {call.code().name for call in calls}
    return codes


@pytest.mark.timeout(90)
def test_a_flood_of_bad_tokens_costs_others_little_and_the_daemon_nothing(
    provider: Provider, tmp_path: Path, record_testsuite_property: Callable[[str, object], None]
) -> None:
    chance, waits_s, sizes = Random(20), list[float](), list[float]()
    with trusting(provider, tmp_path) as office, ExitStack() as stack:
        # Connections that never finish their handshake are there all the while.
        silent = [stack.enter_context(connected(office.address)) for _ in range(20)]
        silent[0].sendall(b"\x16\x03\x01\x02\x00")
        process = psutil.Process(office.pid)
        began = time.monotonic()
        for _ in range(ROUNDS):
            codes = flooded(office, provider, bad_tokens(chance, provider.url), waits_s)
            assert codes == {"UNAUTHENTICATED"}
            sizes.append(process.memory_info().rss)
        passed_s = time.monotonic() - began
        asked = provider.asked.count(KEYS)
        for each in silent:
            each.settimeout(transport.HANDSHAKE_MS / 1000 + 5)
            assert each.recv(1) == b"", "it is cut off"
    grown = slope(sizes[ROUNDS // 2 :]) / (FLOOD // ROUNDS)
    figures = {
        "per_second": round(FLOOD / passed_s),
        "others_p50_ms": round(1000 * sorted(waits_s)[len(waits_s) // 2], 1),
        "others_longest_ms": round(1000 * max(waits_s), 1),
        "bytes_each": round(grown),
        "key_sets_fetched": asked,
    }
    record_testsuite_property("bad_tokens", figures)
    assert max(waits_s) < WAIT_MAX_S
    assert asked <= 2 + passed_s / ASKED_AGAIN_S, "a made-up key has the issuer asked every 15 s at most"
    assert (tmp_path / "log").read_text() == ""
    assert grown < GROWTH_MAX_BYTES, sizes
