"""A worker takes all that it can hold and does nothing: alive, frozen, or with no limit set; others do the work."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hmsact.testing import Daemon

from tests.stories.scene import GRACE, Board, Scene


@pytest.fixture
def by_the_clock(tmp_path: Path) -> Iterator[Scene]:
    """A daemon whose time is that of the machine: signs of life can't be moved."""
    with Daemon(tmp_path / "data", test_clock=False) as daemon, daemon.orchestrator() as act:
        yield Scene(daemon, act)


def test_an_idle_worker_that_gives_signs_of_life_loses_its_calls_at_their_timeout(by_the_clock: Scene) -> None:
    scene = by_the_clock
    limits = {"sla": "1s", "heartbeat": "3s", "timeout": "6s", "retry_delay": "100ms"}
    with scene.agency(at_a_time=3) as idle:
        # Their clocks are short, and programs take their time to start.
        scene.shows(Board(workers=1))
        held = [scene.start(case, **limits) for case in ("a", "b", "c")]
        assert idle.cases(3) == {"a": 1, "b": 1, "c": 1}
        rest = [scene.start(case) for case in ("d", "e")]
        scene.shows(Board(queued=2, workers=1, breached=3, operations={"running": 5}))
        assert scene.listed("--alarm", "breached") == [f"{case} running work: Irs at work" for case in "abc"]
        assert scene.listed("--state", "running")[3:] == [f"{case} running work: a worker of Irs" for case in "de"]
        with scene.agency(at_a_time=8) as able:
            assert able.cases(2) == {"d": 1, "e": 1}
            able.go_on("d", "e")
            for operation in rest:
                assert operation.wait("20s").state == "completed"
            scene.serves_others()
            # Its places stay taken until it reports, so that it is given nothing more to do nothing with.
            assert able.cases(3) == {"a": 2, "b": 2, "c": 2}
            attempts = {"timeout": 3, "done": 2}
            scene.shows(Board(workers=2, breached=3, attempts=attempts, operations={"running": 3, "completed": 2}))
            able.go_on("a", "b", "c")
            for operation in held:
                assert operation.wait("20s").state == "completed"
            scene.shows(Board(workers=2, attempts={"timeout": 3, "done": 5}, operations={"completed": 5}))
        # When it comes to itself its reports are stale, and its places are free again.
        idle.go_on("a", "b", "c")
        last = scene.start("f")
        assert idle.cases(1) == {"f": 1}
        idle.go_on("f")
        assert last.wait("20s").state == "completed"
    assert scene.listed("--state", "running") == scene.listed("--state", "stalled") == []
    assert scene.listed("--state", "completed") == [f"{case} completed" for case in "abcdef"]
    for operation in held:
        assert scene.story(operation) == [
            "operation_started",
            "step_started 1 by svc/Irs",
            "sla_at_risk",
            "sla_breach",
            "step_failed 1 TIMEOUT retry 1/3",
            "step_queued",
            "step_started 2 by svc/Irs",
            "step_done 2 by svc/Irs",
            "operation_completed",
        ]


def test_a_frozen_worker_loses_its_calls_when_its_signs_of_life_stay_away(by_the_clock: Scene) -> None:
    scene = by_the_clock
    with scene.agency(at_a_time=2) as frozen:
        scene.shows(Board(workers=1))
        held = [scene.start(case, sla="500ms", heartbeat="4s", retry_delay="100ms") for case in ("a", "b")]
        assert frozen.cases(2) == {"a": 1, "b": 1}
        frozen.freeze()
        scene.shows(Board(workers=1, breached=2, operations={"running": 2}))
        assert scene.listed("--alarm", "breached") == [f"{case} running work: Irs at work" for case in "ab"]
        with scene.agency(at_a_time=8) as able:
            beside = scene.start("c")
            assert able.cases(1) == {"c": 1}
            able.go_on("c")
            assert beside.wait("20s").state == "completed"
            assert able.cases(2) == {"a": 2, "b": 2}
            able.go_on("a", "b")
            for operation in held:
                assert operation.wait("20s").state == "completed"
            scene.shows(Board(workers=2, attempts={"timeout": 2, "done": 3}, operations={"completed": 3}))
    assert scene.listed("--state", "completed") == [f"{case} completed" for case in "abc"]
    for operation in held:
        assert scene.story(operation) == [
            "operation_started",
            "step_started 1 by svc/Irs",
            "sla_at_risk",
            "sla_breach",
            "step_failed 1 HEARTBEAT_TIMEOUT retry 1/3",
            "step_queued",
            "step_started 2 by svc/Irs",
            "step_done 2 by svc/Irs",
            "operation_completed",
        ]


def test_where_no_limit_was_set_the_breach_is_noticed_and_the_end_of_the_worker_frees_its_call(scene: Scene) -> None:
    operation = scene.start("loan", sla="5m")
    with scene.agency() as idle:
        assert idle.cases(1) == {"loan": 1}
        scene.daemon.advance("270s")
        scene.shows(Board(workers=1, at_risk=1, operations={"running": 1}))
        assert scene.listed("--alarm", "at_risk") == ["loan running work: Irs at work"]
        scene.daemon.advance("1d")
        scene.shows(Board(workers=1, breached=1, operations={"running": 1}))
        assert scene.listed("--alarm", "breached") == ["loan running work: Irs at work"]
        scene.serves_others()
        idle.kill()
    scene.daemon.advance(GRACE)
    scene.shows(Board(queued=1, breached=1, attempts={"lost": 1}, operations={"running": 1}))
    assert scene.listed("--alarm", "breached") == ["loan running work: a worker of Irs"]
    with scene.agency() as able:
        assert able.cases(1) == {"loan": 2}
        able.go_on("loan")
        assert operation.wait("20s").state == "completed"
        scene.shows(Board(workers=1, attempts={"lost": 1, "done": 1}, operations={"completed": 1}))
    assert scene.listed("--state", "completed") == ["loan completed"]
    assert scene.story(operation) == [
        "operation_started",
        "step_started 1 by svc/Irs",
        "sla_at_risk",
        "sla_breach",
        "step_lost 1 count 1",
        "step_started 2 by svc/Irs",
        "step_done 2 by svc/Irs",
        "operation_completed",
    ]
