"""A service is away for an hour: its steps wait, that is noticed, and when it is back all of them are done in order."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hmsact.testing import Daemon

from tests.e2e.raw import eventually
from tests.e2e.scrape import scrape
from tests.services.agency import agency
from tests.stories.scene import FLOW, GRACE, SVC, Board, Scene

STATE = f"hmsact_called_service_state{{svc={SVC}}}"
UNREACHABLE = f"hmsact_called_seconds_count{{outcome=unreachable,svc={SVC}}}"
CLOSED, OPEN = 0, 2
CALLED = 40


def test_workers_that_come_back_after_an_hour_find_every_step_in_its_order(scene: Scene) -> None:
    with scene.agency() as before:
        in_hand = scene.start("a", sla="30m")
        assert before.cases(1) == {"a": 1}
        before.kill()
    waiting = [scene.start(case, sla="30m") for case in ("b", "c")]
    scene.daemon.advance(GRACE)
    scene.shows(Board(queued=3, attempts={"lost": 1}, operations={"running": 3}))
    assert scene.listed("--state", "running") == [f"{case} running work: a worker of Irs" for case in "abc"]
    assert scene.listed("--alarm", "unattended") == []
    scene.daemon.advance("16m")
    scene.shows(Board(queued=3, unattended=3, attempts={"lost": 1}, operations={"running": 3}))
    assert scene.listed("--alarm", "unattended") == [f"{case} running work: a worker of Irs" for case in "abc"]
    scene.daemon.advance("15m")
    scene.shows(Board(queued=3, unattended=3, breached=3, attempts={"lost": 1}, operations={"running": 3}))
    assert scene.listed("--alarm", "breached") == [f"{case} running work: a worker of Irs" for case in "abc"]
    late = scene.start("d")
    scene.serves_others()
    scene.daemon.advance("29m")
    assert 3600 <= scene.oldest_queued_s() < 3660
    with scene.agency() as back:
        # One at a time: what has waited longest comes first. The call that was lost has waited since its loss.
        for case, attempt in (("b", 1), ("c", 1), ("a", 2), ("d", 1)):
            assert back.cases(1) == {case: attempt}
            back.go_on(case)
        for operation in (in_hand, *waiting, late):
            assert operation.wait("20s").state == "completed"
        scene.shows(Board(workers=1, attempts={"lost": 1, "done": 4}, operations={"completed": 4}))
    assert scene.oldest_queued_s() == 0
    assert scene.listed("--state", "running") == scene.listed("--alarm", "breached") == []
    assert scene.listed("--state", "completed") == [f"{case} completed" for case in "abcd"]
    assert scene.story(in_hand) == [
        "operation_started",
        "step_started 1 by svc/Irs",
        "step_lost 1 count 1",
        "unattended",
        "sla_at_risk",
        "sla_breach",
        "step_started 2 by svc/Irs",
        "step_done 2 by svc/Irs",
        "operation_completed",
    ]
    for operation in waiting:
        assert scene.story(operation) == [
            "operation_started",
            "unattended",
            "sla_at_risk",
            "sla_breach",
            "step_started 1 by svc/Irs",
            "step_done 1 by svc/Irs",
            "operation_completed",
        ]


@pytest.fixture
def port() -> int:
    """Where the called service is, once it is back."""

    async def found() -> int:
        async with agency() as gone:
            return gone.port

    return asyncio.run(found())


@pytest.fixture
def calling(tmp_path: Path, port: int) -> Iterator[Scene]:
    """A daemon that calls the service."""
    file = tmp_path / "hmsactd.toml"
    file.write_text(
        f'[services.{SVC}]\naddress = "http://127.0.0.1:{port}/"\nconcurrency = 4\nfailures_max = 3\nrate = 200\n'
    )
    with Daemon(tmp_path / "data", arguments=["--config", str(file)]) as daemon, daemon.orchestrator() as act:
        yield Scene(daemon, act)


def test_a_called_service_that_comes_back_after_an_hour_is_called_once_for_every_step(
    calling: Scene, port: int
) -> None:
    scene = calling
    operations = [scene.start(f"case-{number}", sla="30m") for number in range(CALLED)]
    eventually(lambda: scrape(scene.daemon)[STATE] == OPEN)
    scene.daemon.advance("5m")
    spent = round(scrape(scene.daemon)[UNREACHABLE])
    # As many as were under way when it was found out, and not one more.
    assert 3 <= spent <= 6
    down = Board(queued=CALLED, workers=1, attempts={"failed": spent}, operations={"running": CALLED})
    scene.shows(down)
    assert scene.listed("--state", "running", "--limit", "2") == [
        f"case-{number} running work: a worker of Irs" for number in (38, 39)
    ]
    scene.serves_others()
    scene.daemon.advance("16m")
    scene.shows(replace(down, unattended=CALLED))
    scene.daemon.advance("40m")
    scene.shows(replace(down, unattended=CALLED, breached=CALLED))
    assert scene.hmsact("list", "--name", FLOW, "--alarm", "breached", "--count") == "40\n"
    assert scrape(scene.daemon)[STATE] == OPEN

    async def come_back() -> list[str]:
        async with agency(port=port) as back:
            # It is looked for once a minute at least.
            await asyncio.to_thread(scene.daemon.advance, "1m")
            for operation in operations:
                assert (await asyncio.to_thread(operation.wait, "20s")).state == "completed"
            return [str(asked.said["idempotency_key"]) for asked in back.asked if asked.line.startswith("POST")]

    asked = asyncio.run(come_back())
    assert sorted(asked) == sorted(f"{operation.id}/1" for operation in operations)
    scene.shows(Board(workers=1, attempts={"failed": spent, "done": CALLED}, operations={"completed": CALLED}))
    found = scrape(scene.daemon)
    assert (found[STATE], found[UNREACHABLE]) == (CLOSED, spent)
    assert scene.hmsact("list", "--state", "completed", "--name", FLOW, "--count") == "40\n"
    assert scene.listed("--state", "running") == []
    stories = [scene.story(operation) for operation in operations]
    ends = ["unattended", "sla_at_risk", "sla_breach"]
    untouched = ["operation_started", *ends, "step_started 1 by svc/Irs", "step_done 1 by svc/Irs"]
    assert stories.count([*untouched, "operation_completed"]) >= CALLED - spent
    for story in stories:
        assert story[-6:-3] == ends
        assert sum(event.startswith("step_failed") for event in story) == story.count("step_queued")
