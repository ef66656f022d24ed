"""Two workers are killed over one step: a third does it, and none of its retries is used up."""

from __future__ import annotations

from tests.stories.scene import GRACE, Board, Scene


def test_a_step_that_has_lost_two_workers_is_done_by_the_third_on_its_first_try(scene: Scene) -> None:
    operation = scene.start("loan", retries=0)
    scene.shows(Board(queued=1, operations={"running": 1}))
    assert scene.listed("--state", "running") == ["loan running work: a worker of Irs"]
    keys = set()
    for losses in (0, 1):
        lost = {"lost": losses} if losses else {}
        with scene.agency() as agency:
            case, attempt, key = agency.begun()
            keys.add(key)
            assert (case, attempt) == ("loan", losses + 1)
            scene.shows(Board(workers=1, attempts=lost, operations={"running": 1}))
            assert scene.listed("--state", "running") == ["loan running work: Irs at work"]
            agency.kill()
        # It may only have lost its connection: for its grace the call stays its own.
        scene.serves_others()
        scene.shows(Board(workers=1, attempts=lost, operations={"running": 1}))
        scene.daemon.advance(GRACE)
        scene.shows(Board(queued=1, attempts={"lost": losses + 1}, operations={"running": 1}))
        assert scene.listed("--state", "running") == ["loan running work: a worker of Irs"]
        assert scene.listed("--state", "stalled") == scene.listed("--alarm", "unattended") == []
        scene.serves_others()
    scene.daemon.advance("1m")
    # How long it has waited counts from the last loss.
    assert 60 <= scene.oldest_queued_s() < 90
    with scene.agency() as agency:
        case, attempt, key = agency.begun()
        assert (case, attempt) == ("loan", 3)
        agency.go_on("loan")
        assert operation.wait("20s").output == "loan is done"
        scene.shows(Board(workers=1, attempts={"lost": 2, "done": 1}, operations={"completed": 1}))
    assert keys == {key}
    assert scene.oldest_queued_s() == 0
    assert scene.listed("--state", "running") == []
    assert scene.listed("--state", "completed") == ["loan completed"]
    assert scene.story(operation) == [
        "operation_started",
        "step_started 1 by svc/Irs",
        "step_lost 1 count 1",
        "step_started 2 by svc/Irs",
        "step_lost 2 count 2",
        "step_started 3 by svc/Irs",
        "step_done 3 by svc/Irs",
        "operation_completed",
    ]
