"""Every reason to reject something: its code, its ground, and words that name what is in the way."""

import ast
from collections.abc import Callable
from pathlib import Path

import pytest

import hmsactd.core
from hmsactd.core.inputs import Cancel, CompleteStep, Decide, Resume, StepErred
from hmsactd.core.rejected import Ground, Rejected
from tests.core.dialogue import (
    CITIZEN,
    DESK,
    EPOCH,
    JDAVIS,
    MGARCIA,
    OPERATOR,
    Dialogue,
    begun,
    checkpoint,
    payload,
    rejected,
    service,
    step,
)

Telling = Callable[[Dialogue], object]


def two_items() -> Dialogue:
    return begun(step("a", retries=0), checkpoint("review"))


def pending() -> Dialogue:
    talk = two_items()
    talk.do("a")
    return talk


def stalled() -> Dialogue:
    talk = two_items()
    talk.stall("a")
    return talk


def completed() -> Dialogue:
    """A step that was deferred and completed with its token."""
    talk = two_items()
    talk.take("a")
    talk.defer("a")
    talk.complete("a")
    return talk


def timed_out() -> Dialogue:
    """A step whose first attempt was deferred and timed out, and whose second is under way."""
    talk = begun(step("a", timeout="5s"))
    talk.take("a")
    talk.defer("a")
    talk.wait("6s").wake()
    talk.wait("3s").wake()
    talk.take("a")
    return talk


def after(told: Telling, talk: Dialogue) -> Dialogue:
    told(talk)
    return talk


REJECTED: dict[str, tuple[Ground, Callable[[], Dialogue], Telling, str]] = {
    "OPERATION_EXISTS": (Ground.PRECONDITION, two_items, Dialogue.start, "has been started before"),
    "OPERATION_FINAL": (
        Ground.PRECONDITION,
        lambda: after(Dialogue.cancel, two_items()),
        Dialogue.cancel,
        "the operation is cancelled: nothing more can be done with it",
    ),
    "REVISION_CHANGED": (
        Ground.CHANGED,
        two_items,
        lambda talk: talk.hear(Cancel(OPERATOR, expected_revision=7)),
        "the flow is at revision 1, not 7",
    ),
    "OPERATION_PAUSED": (
        Ground.PRECONDITION,
        lambda: after(Dialogue.pause, two_items()),
        Dialogue.pause,
        "dev:operator has paused the operation before",
    ),
    "OPERATION_NOT_PAUSED": (
        Ground.PRECONDITION,
        two_items,
        Dialogue.resume,
        "the operation is running, not paused",
    ),
    "NOT_THE_HOLDER": (
        Ground.PERMISSION,
        lambda: after(lambda talk: talk.take("a"), two_items()),
        lambda talk: talk.hear(StepErred(service("Other"), 1, 1, "BUSY")),
        "a is with dev:svc/Svc, not with dev:svc/Other",
    ),
    "ALREADY_COMPLETED": (
        Ground.PRECONDITION,
        completed,
        lambda talk: talk.hear(CompleteStep(service("Other"), 1, 1, payload("twice"))),
        "attempt 1 of a was completed before, at 2026-01-05T09:00:00Z by dev:svc/Svc",
    ),
    "ATTEMPT_OVER": (
        Ground.PRECONDITION,
        timed_out,
        lambda talk: talk.hear(CompleteStep(service("Svc"), 1, 1, payload("late"))),
        "too late: attempt 1 of a is over, and attempt 2 is under way; what you said is kept on the record",
    ),
    "ATTEMPT_UNKNOWN": (
        Ground.UNKNOWN,
        two_items,
        lambda talk: talk.hear(CompleteStep(service("Svc"), 1, 1, payload("early"))),
        "the operation knows of no attempt 1 at item 1",
    ),
    "STEP_UNKNOWN": (
        Ground.UNKNOWN,
        two_items,
        lambda talk: talk.retry("nowhere"),
        "the operation has no step nowhere",
    ),
    "NOT_A_STEP": (Ground.PRECONDITION, pending, lambda talk: talk.skip("review"), "review is a checkpoint"),
    "STEP_NOT_STALLED": (
        Ground.PRECONDITION,
        two_items,
        lambda talk: talk.retry("a"),
        "a is queued, not stalled",
    ),
    "CHECKPOINT_UNKNOWN": (
        Ground.UNKNOWN,
        two_items,
        lambda talk: talk.approve(JDAVIS, "nowhere"),
        "the operation has no checkpoint nowhere",
    ),
    "NOT_A_CHECKPOINT": (
        Ground.PRECONDITION,
        two_items,
        lambda talk: talk.approve(JDAVIS, "a"),
        "a is a step: nobody decides it",
    ),
    "CHECKPOINT_NOT_PENDING": (
        Ground.PRECONDITION,
        two_items,
        lambda talk: talk.approve(JDAVIS, "review"),
        "review is ahead",
    ),
    "ALREADY_DECIDED": (
        Ground.PRECONDITION,
        lambda: after(lambda talk: talk.reject(JDAVIS, "review"), pending()),
        lambda talk: talk.approve(MGARCIA, "review"),
        "review was rejected by dev:jdavis before",
    ),
    "STALE_DIGEST": (
        Ground.PRECONDITION,
        pending,
        lambda talk: talk.hear(Decide(JDAVIS, "review", True, "0" * 64)),
        "what you were shown is not what review is about now",
    ),
    "CLAIMED_BY_ANOTHER": (
        Ground.PRECONDITION,
        lambda: after(lambda talk: talk.claim(MGARCIA, "review"), pending()),
        lambda talk: talk.approve(JDAVIS, "review"),
        "dev:mgarcia has claimed review",
    ),
    "NOT_CLAIMED_BY_CALLER": (
        Ground.PRECONDITION,
        pending,
        lambda talk: talk.release(JDAVIS, "review"),
        "you have not claimed it: nobody holds it",
    ),
    "NOT_A_PERSON": (
        Ground.PERMISSION,
        pending,
        lambda talk: talk.approve(service("FSA"), "review"),
        "dev:svc/FSA is not a person",
    ),
    "ROLE_MISSING": (
        Ground.PERMISSION,
        pending,
        lambda talk: talk.approve(OPERATOR, "review"),
        "review is decided by fsa.officer, a role that dev:operator lacks",
    ),
    "STARTED_BY_CALLER": (
        Ground.PERMISSION,
        stalled,
        lambda talk: talk.skip("a", CITIZEN),
        "dev:citizen started the operation, so somebody else skips its steps",
    ),
    "STARTED_FOR_CALLER": (
        Ground.PERMISSION,
        lambda: begun(checkpoint("review"), by=DESK),
        lambda talk: talk.approve(JDAVIS, "review"),
        "the operation was started on behalf of dev:jdavis, so somebody else decides review",
    ),
}


@pytest.mark.parametrize("code", REJECTED)
def test_what_is_rejected_is_rejected_with_a_ground_and_in_words_and_changes_nothing(code: str) -> None:
    ground, begin, tell, words = REJECTED[code]
    talk = begin()
    before, known = talk.operation, len(talk.events)
    with rejected(code) as caught:
        tell(talk)
    assert caught.value.ground is ground
    assert words in caught.value.sentence
    assert talk.operation == before
    assert len(talk.events) == known


FACTS = {
    "ALREADY_COMPLETED": {
        "state": "waiting",
        "step": "a",
        "completed_by": "dev:svc/Svc",
        "completed_at_us": str(EPOCH),
    },
    "ATTEMPT_OVER": {"state": "running", "step": "a"},
    "OPERATION_FINAL": {"state": "cancelled"},
    "REVISION_CHANGED": {"revision": "1"},
    "STEP_NOT_STALLED": {"state": "queued"},
    "CHECKPOINT_NOT_PENDING": {"state": "ahead"},
    "ALREADY_DECIDED": {"state": "rejected", "decided_by": "dev:jdavis", "decided_at_us": str(EPOCH)},
    "CLAIMED_BY_ANOTHER": {"claimed_by": "dev:mgarcia"},
}


@pytest.mark.parametrize("code", [code for code in REJECTED if code != "STALE_DIGEST"])
def test_what_a_machine_needs_to_know_is_told_as_facts(code: str) -> None:
    _, begin, tell, _ = REJECTED[code]
    talk = begin()
    with rejected(code) as caught:
        tell(talk)
    assert caught.value.facts == FACTS.get(code, {})


def test_of_what_is_rejected_only_who_may_not_decide_and_what_came_too_late_leave_a_note() -> None:
    for told, noted in (
        (Decide(OPERATOR, "review", True), ["decision_refused review by=operator code=ROLE_MISSING"]),
        (Decide(JDAVIS, "review", True, "0" * 64), []),
        (Resume(OPERATOR), []),
    ):
        talk = pending()
        with pytest.raises(Rejected):
            talk.tell_noted(told)
        assert talk.noted == noted, told
    late = timed_out()
    with pytest.raises(Rejected):
        late.complete("a", attempt=1)
    assert [line.split()[0] for line in late.noted] == ["step_report_ignored"]


def test_every_code_of_the_core_is_in_the_table() -> None:
    codes = set()
    for path in Path(hmsactd.core.__path__[0]).glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Rejected":
                code = node.args[1]
                assert isinstance(code, ast.Constant)
                codes.add(code.value)
    assert codes == REJECTED.keys()
