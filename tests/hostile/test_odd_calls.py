"""Calls that are odd around their message: paths, headers, deadlines, no message at all. Each has a right answer."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from tests.faults.tower import Tower
from tests.hostile.answers import INSIDE
from tests.hostile.daemon import hostile_to
from tests.hostile.door import Answer
from tests.hostile.stage import OPERATIONS, SYSTEM, TIMELINES, WORKERS
from tests.hostile.wire import Metadata, at

WHOAMI = SYSTEM + "Whoami"


@pytest.fixture(scope="module")
def tower(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tower]:
    with hostile_to(tmp_path_factory.mktemp("odd") / "data") as tower:
        yield tower


def answer(tower: Tower, path: str = WHOAMI, said: Sequence[bytes] = (b"",), **how: Any) -> Answer:
    """How a call ends. Nothing that comes back tells of the inside, and the next call is answered."""

    async def ask() -> Answer:
        async with at(tower.address) as door:
            found = await door.ask(path, [*said], **how)
            assert (await door.ask(WHOAMI, [b""])).code == "OK"
            return found

    found = asyncio.run(ask())
    assert not INSIDE.search(found.sentence + repr(found.trailers))
    return found


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "//",
        "x",
        "/x",
        OPERATIONS,
        OPERATIONS + "Nothing",
        "/hmsact.v1.StepService/Execute",
        WHOAMI + "/",
        WHOAMI + "?a=b",
        SYSTEM + "whoami",
        SYSTEM + "%57hoami",
        SYSTEM + "Who\u00e4",
        SYSTEM + "../SystemService/Whoami",
        "/" + "x" * 7_000,
    ],
    ids=lambda path: path[:40],
)
def test_no_other_path_leads_anywhere(tower: Tower, path: str) -> None:
    assert answer(tower, path).code == "UNIMPLEMENTED"


@pytest.mark.parametrize(
    ("metadata", "code", "reason"),
    [
        ([(f"x-{number}", "y") for number in range(100)], "OK", ""),
        ([(f"x-{number}", "y" * 10) for number in range(3_000)], "RESOURCE_EXHAUSTED", ""),
        ([("x", "y" * 8_000)], "OK", ""),
        ([("x", "y" * 1_000_000)], "RESOURCE_EXHAUSTED", ""),
        ([("x-bin", b"\xff\xfe\0" * 10), ("authorization-bin", b"\xff"), ("grpc-trace-bin", b"\xff" * 30)], "OK", ""),
        ([("grpc-status", "13"), ("grpc-message", "x"), ("content-type", "text/html"), ("host", "evil")], "OK", ""),
        ([("grpc-encoding", "lzma"), ("grpc-timeout", "99999999999H"), ("traceparent", "x" * 500)], "OK", ""),
        ([("authorization", "")], "UNAUTHENTICATED", "SCHEME_UNKNOWN"),
        ([("authorization", "Basic abc")], "UNAUTHENTICATED", "SCHEME_UNKNOWN"),
        ([("authorization", "Bearer")], "UNAUTHENTICATED", "TOKEN_MALFORMED"),
        ([("authorization", "Bearer " + "x" * 8_300)], "UNAUTHENTICATED", "TOKEN_MALFORMED"),
        ([("authorization", "Bearer " + "x" * 8_000)], "UNAUTHENTICATED", "TOKEN_UNKNOWN"),
        ([("authorization", "Bearer " + "a." * 2_000)], "UNAUTHENTICATED", "TOKEN_UNKNOWN"),
        ([("authorization", f"Bearer {one}") for one in ("dev:casebot", "")], "UNAUTHENTICATED", "AUTHORIZATION_TWICE"),
    ],
    ids=lambda case: str(case)[:40],
)
def test_odd_headers_are_passed_over_or_refused(tower: Tower, metadata: Metadata, code: str, reason: str) -> None:
    found = answer(tower, metadata=tuple(metadata))
    assert (found.code, found.reason) == (code, reason)


@pytest.mark.parametrize("deadline_s", [0, -1, -1e9, 1e-9, 1e-4, 1e5, 1e9, 1e12, math.inf, math.nan, None])
def test_whatever_the_deadline_there_is_an_answer_or_the_time_is_over(tower: Tower, deadline_s: float | None) -> None:
    assert answer(tower, deadline_s=deadline_s).code in ("OK", "DEADLINE_EXCEEDED")


@pytest.mark.parametrize(
    ("path", "code"),
    [
        (WHOAMI, "INVALID_ARGUMENT"),
        (TIMELINES + "WatchEvents", "INVALID_ARGUMENT"),
        (OPERATIONS + "StartOperations", "OK"),
        (WORKERS + "Work", "INVALID_ARGUMENT"),
    ],
)
def test_who_says_nothing_keeps_nobody_waiting_but_themselves(tower: Tower, path: str, code: str) -> None:
    assert answer(tower, path, (), deadline_s=0.3).code == code
