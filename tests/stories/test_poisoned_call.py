"""One call kills every worker that takes it: it ends at an operator, and takes nobody else's work with it."""

from __future__ import annotations

from tests.stories.scene import GRACE, Board, Scene

OFFICER = "dev:jdavis@fsa.gov"


def test_a_call_that_kills_its_workers_stalls_and_the_other_calls_of_those_workers_are_done(scene: Scene) -> None:
    first = [scene.start(case) for case in ("a", "b", "c")]
    poison = scene.start("poison", retries=1, retry_delay="1m")
    with scene.agency("poison", at_a_time=4) as agency:
        assert agency.cases(4) == {"a": 1, "b": 1, "c": 1, "poison": 1}
        scene.shows(Board(workers=1, operations={"running": 4}))
        agency.go_on("poison")
        agency.dies()
    scene.daemon.advance(GRACE)
    scene.shows(Board(queued=4, attempts={"lost": 4}, operations={"running": 4}))
    assert scene.listed("--state", "running") == [
        f"{case} running work: a worker of Irs" for case in ("a", "b", "c", "poison")
    ]
    with scene.agency("poison", at_a_time=4) as agency:
        assert agency.cases(4) == {"a": 2, "b": 2, "c": 2, "poison": 2}
        agency.go_on("a", "b", "c")
        for operation in first:
            assert operation.wait("20s").state == "completed"
        beside = scene.start("d")
        assert agency.cases(1) == {"d": 1}
        agency.go_on("poison")
        agency.dies()
    scene.daemon.advance(GRACE)
    scene.shows(Board(queued=2, attempts={"lost": 6, "done": 3}, operations={"running": 2, "completed": 3}))
    with scene.agency("poison", at_a_time=4) as agency:
        assert agency.cases(2) == {"d": 2, "poison": 3}
        agency.go_on("d")
        assert beside.wait("20s").state == "completed"
        agency.go_on("poison")
        agency.dies()
    # The third loss is a failure, and uses up a retry: the pause before the next is one for the agency, too.
    scene.daemon.advance(GRACE)
    scene.shows(Board(attempts={"lost": 7, "done": 4}, operations={"waiting": 1, "completed": 4}))
    assert scene.listed("--state", "waiting") == ["poison waiting work: its next attempt"]
    scene.serves_others()
    scene.daemon.advance("2m")
    scene.shows(Board(queued=1, attempts={"lost": 7, "done": 4}, operations={"running": 1, "completed": 4}))
    for attempt, case in ((4, "e"), (5, "f"), (6, "g")):
        with scene.agency("poison", at_a_time=4) as agency:
            assert agency.cases(1) == {"poison": attempt}
            beside = scene.start(case)
            assert agency.cases(1) == {case: 1}
            agency.go_on(case)
            assert beside.wait("20s").state == "completed"
            agency.go_on("poison")
            agency.dies()
        scene.daemon.advance(GRACE)
    stalled = Board(stalled=1, attempts={"lost": 10, "done": 7}, operations={"stalled": 1, "completed": 7})
    scene.shows(stalled)
    assert scene.listed("--state", "running") == []
    assert scene.listed("--state", "stalled") == ["poison stalled work: an operator"]
    assert scene.listed("--alarm", "stalled") == ["poison stalled work: an operator"]
    # The workers of the agency are safe from it now, until an operator says otherwise.
    with scene.agency("poison") as agency:
        last = scene.start("h")
        assert agency.cases(1) == {"h": 1}
        agency.go_on("h")
        assert last.wait("20s").state == "completed"
    scene.hmsact("skip", poison.id, "work", "--reason", "its form crashes the parser", token=OFFICER)
    assert scene.listed("--state", "stalled") == []
    assert "poison completed" in scene.listed("--state", "completed")
    assert scene.story(poison) == [
        "operation_started",
        "step_started 1 by svc/Irs",
        "step_lost 1 count 1",
        "step_started 2 by svc/Irs",
        "step_lost 2 count 2",
        "step_started 3 by svc/Irs",
        "step_failed 3 WORKER_LOST retry 1/1",
        "step_queued",
        "step_started 4 by svc/Irs",
        "step_lost 4 count 1",
        "step_started 5 by svc/Irs",
        "step_lost 5 count 2",
        "step_started 6 by svc/Irs",
        "step_failed 6 WORKER_LOST",
        "step_stalled WORKER_LOST",
        "step_skipped by jdavis@fsa.gov",
        "operation_completed",
    ]
    for operation in first:
        assert scene.story(operation) == [
            "operation_started",
            "step_started 1 by svc/Irs",
            "step_lost 1 count 1",
            "step_started 2 by svc/Irs",
            "step_done 2 by svc/Irs",
            "operation_completed",
        ]


def test_a_stalled_call_is_done_once_the_agency_has_mended_its_workers_and_an_operator_retries(scene: Scene) -> None:
    poison = scene.start("poison", retries=0)
    for attempt in (1, 2, 3):
        with scene.agency("poison") as agency:
            assert agency.cases(1) == {"poison": attempt}
            agency.go_on("poison")
            agency.dies()
        scene.daemon.advance(GRACE)
    scene.shows(Board(stalled=1, attempts={"lost": 3}, operations={"stalled": 1}))
    assert scene.listed("--state", "stalled") == ["poison stalled work: an operator"]
    with scene.agency() as mended:
        scene.hmsact("retry", poison.id, "work", "--reason", "the parser is mended", token=OFFICER)
        assert mended.cases(1) == {"poison": 4}
        scene.shows(Board(workers=1, attempts={"lost": 3}, operations={"running": 1}))
        assert scene.listed("--state", "running") == ["poison running work: Irs at work"]
        mended.go_on("poison")
        assert poison.wait("20s").output == "poison is done"
    scene.shows(Board(attempts={"lost": 3, "done": 1}, operations={"completed": 1}))
    assert scene.story(poison)[5:] == [
        "step_started 3 by svc/Irs",
        "step_failed 3 WORKER_LOST",
        "step_stalled WORKER_LOST",
        "step_retried by jdavis@fsa.gov",
        "step_started 4 by svc/Irs",
        "step_done 4 by svc/Irs",
        "operation_completed",
    ]
