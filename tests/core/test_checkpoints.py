"""Checkpoints: who decides, on what they were shown, who holds one, and that refusals are kept."""

import hashlib
from typing import Any

import pytest
import rfc8785

from hmsactd.core.inputs import Assign, Claim, Decide, Release
from hmsactd.core.operation import Operation
from hmsactd.core.principal import DAEMON, Principal, PrincipalKind
from hmsactd.core.shown import released_by
from tests.core.dialogue import (
    CASEBOT,
    CITIZEN,
    DESK,
    DEVELOPER,
    JDAVIS,
    MGARCIA,
    OPERATOR,
    Dialogue,
    begun,
    checkpoint,
    kinds,
    payload,
    person,
    rejected,
    service,
    step,
)


def pending(*, by: Principal = CITIZEN, sla: str | None = None, assigned_to: str | None = None) -> Dialogue:
    return begun(checkpoint("review", sla=sla, assigned_to=assigned_to), step("pay"), by=by)


# -- asking and deciding -----------------------------------------------------------------------------------------------


def test_a_checkpoint_asks_when_the_flow_comes_to_it() -> None:
    talk = begun(step("a"), checkpoint("review", assigned_to="dev:jdavis"), step("b"))
    assert talk.operation.checkpoint("review") == talk.operation.items[1]
    talk.take("a")
    _, asked = talk.finish("a")
    digest = talk.checkpoint("review").digest
    assert asked == f"checkpoint_pending review role=fsa.officer digest={str(digest)[:8]} assigned_to=dev:jdavis"
    assert talk.standing() == "waiting, review pending, assigned to dev:jdavis"
    assert talk.outstanding() == ["AwaitDecision review role=fsa.officer"]


def test_an_approval_lets_the_flow_go_on() -> None:
    talk = pending()
    assert talk.approve(JDAVIS, "review") == ["checkpoint_approved review by=jdavis"]
    assert talk.standing() == "running, pay queued"
    assert talk.checkpoint("review").decided_by == JDAVIS


def test_the_last_approval_completes_the_operation() -> None:
    talk = begun(checkpoint("review"))
    assert kinds(talk.approve(JDAVIS, "review")) == ["checkpoint_approved", "operation_completed"]


def test_one_checkpoint_may_follow_another() -> None:
    talk = begun(checkpoint("first"), checkpoint("second", "fsa.counsel"))
    assert kinds(talk.approve(JDAVIS, "first")) == ["checkpoint_approved", "checkpoint_pending"]
    assert kinds(talk.approve(MGARCIA, "second")) == ["checkpoint_approved", "operation_completed"]


def test_a_rejection_ends_the_operation() -> None:
    talk = pending()
    assert talk.reject(JDAVIS, "review") == ["checkpoint_rejected review by=jdavis", "operation_rejected review"]
    assert talk.standing() == "rejected, review rejected"
    assert talk.outstanding() == []


def test_a_comment_stays_with_the_decision() -> None:
    talk = pending()
    told = Decide(JDAVIS, "review", is_approval=True, comment=payload("fine"))
    assert talk.hear(told) == ["checkpoint_approved review by=jdavis comment=fine"]


def test_a_checkpoint_is_decided_once() -> None:
    talk = pending()
    talk.approve(JDAVIS, "review")
    facts = {"state": "approved", "decided_by": "dev:jdavis", "decided_at_us": str(talk.now)}
    for decide in (talk.approve, talk.reject):
        with rejected("ALREADY_DECIDED") as caught:
            decide(MGARCIA, "review")
        assert caught.value.facts == facts


def test_a_decision_that_was_taken_is_told_even_after_the_end() -> None:
    talk = pending()
    talk.reject(JDAVIS, "review")
    with rejected("ALREADY_DECIDED"):
        talk.approve(MGARCIA, "review")


# -- what was shown ----------------------------------------------------------------------------------------------------


def test_a_decision_may_name_what_was_shown() -> None:
    talk = pending()
    digest = talk.checkpoint("review").digest
    assert digest is not None
    assert talk.approve(JDAVIS, "review", seen=digest) == [f"checkpoint_approved review by=jdavis seen={digest[:8]}"]


@pytest.mark.parametrize("seen", ["", "0" * 64])
def test_a_decision_about_something_else_is_not_taken(seen: str) -> None:
    talk = pending()
    for decide in (talk.approve, talk.reject):
        with rejected("STALE_DIGEST") as caught:
            decide(JDAVIS, "review", seen=seen)
        assert caught.value.facts == {"digest": talk.checkpoint("review").digest}
    assert talk.state == "waiting"


def test_what_is_shown_is_definition_input_outputs_and_what_is_released() -> None:
    talk = begun(step("a"), checkpoint("review"), step("b"), checkpoint("second"), step("c"))
    talk.do("a")
    shown: dict[str, Any] = {
        "checkpoint": "review",
        "definition": "d" * 64,
        "input": "input",
        "instance": 2,
        "outputs": {"a": "output-a-1"},
        "releases": ["b", "second"],
        "revision": 1,
        "role": "fsa.officer",
    }
    assert talk.checkpoint("review").digest == hashlib.sha256(rfc8785.dumps(shown)).hexdigest()


def test_a_skipped_step_is_shown_without_an_output() -> None:
    done, skipped = (begun(step("a", retries=0), checkpoint("review")) for _ in range(2))
    done.do("a")
    skipped.stall("a")
    skipped.skip("a")
    assert done.checkpoint("review").digest != skipped.checkpoint("review").digest


@pytest.mark.parametrize(
    ("name", "released"),
    [("first", ("a", "b", "second")), ("second", ("third",)), ("third", ("c",)), ("last", ())],
)
def test_an_approval_releases_everything_up_to_the_next_checkpoint(name: str, released: tuple[str, ...]) -> None:
    talk = begun(
        checkpoint("first"),
        step("a"),
        step("b"),
        checkpoint("second"),
        checkpoint("third"),
        step("c"),
        *([checkpoint("last")] if name == "last" else []),
    )
    assert released_by(talk.operation, talk.checkpoint(name)) == released


# -- who may decide ----------------------------------------------------------------------------------------------------

OWN_AGENT = Principal(PrincipalKind.AGENT, "dev", "helper", responsible=JDAVIS.id)


@pytest.mark.parametrize("who", [CASEBOT, service("FSA"), DAEMON], ids=lambda who: who.id)
def test_only_people_decide(who: Principal) -> None:
    talk = pending()
    with rejected("NOT_A_PERSON"):
        talk.approve(Principal(who.kind, who.issuer, who.subject, ("fsa.officer",)), "review")


@pytest.mark.parametrize("who", [OPERATOR, person("chief", "fsa.chief"), person("other", "officer")])
def test_only_holders_of_the_role_decide(who: Principal) -> None:
    with rejected("ROLE_MISSING"):
        pending().approve(who, "review")


def test_who_holds_every_role_holds_this_one() -> None:
    assert kinds(pending().approve(DEVELOPER, "review")) == ["checkpoint_approved"]


@pytest.mark.parametrize(
    ("starter", "officer"),
    [(JDAVIS, JDAVIS), (DEVELOPER, DEVELOPER), (CASEBOT, DEVELOPER), (OWN_AGENT, JDAVIS)],
)
def test_whoever_started_the_operation_decides_none_of_its_checkpoints(starter: Principal, officer: Principal) -> None:
    talk = pending(by=starter)
    for telling in (talk.approve, talk.reject, talk.claim):
        with rejected("STARTED_BY_CALLER"):
            telling(officer, "review")
    with rejected("STARTED_BY_CALLER"):
        talk.assign(OPERATOR, "review", officer)
    assert kinds(talk.approve(MGARCIA, "review")) == ["checkpoint_approved"]


OWN_AGENT_FOR_DEVELOPER = Principal(
    PrincipalKind.AGENT, "dev", "helper", responsible=JDAVIS.id, on_behalf_of=DEVELOPER.id
)


@pytest.mark.parametrize(
    ("starter", "officer", "code"),
    [
        (DESK, JDAVIS, "STARTED_FOR_CALLER"),
        (OWN_AGENT_FOR_DEVELOPER, DEVELOPER, "STARTED_FOR_CALLER"),
        (OWN_AGENT_FOR_DEVELOPER, JDAVIS, "STARTED_BY_CALLER"),
    ],
)
def test_whoever_an_operation_was_started_for_decides_none_of_its_checkpoints(
    starter: Principal, officer: Principal, code: str
) -> None:
    talk = pending(by=starter)
    for telling in (talk.approve, talk.reject, talk.claim):
        with rejected(code):
            telling(officer, "review")
    with rejected(code):
        talk.assign(OPERATOR, "review", officer)
    assert kinds(talk.approve(MGARCIA, "review")) == ["checkpoint_approved"]


def test_what_would_be_assigned_to_whom_it_was_started_for_is_assigned_to_nobody() -> None:
    assert pending(by=DESK, assigned_to=JDAVIS.id).checkpoint("review").assigned_to is None
    assert pending(by=DESK, assigned_to=MGARCIA.id).checkpoint("review").assigned_to == MGARCIA.id


def test_an_operation_that_a_service_started_is_decided_by_any_holder() -> None:
    assert kinds(pending(by=service("Portal")).approve(JDAVIS, "review")) == ["checkpoint_approved"]


# -- holding one -------------------------------------------------------------------------------------------------------


def test_what_one_has_claimed_nobody_else_decides() -> None:
    talk = pending()
    assert talk.claim(MGARCIA, "review") == ["checkpoint_claimed review by=mgarcia"]
    assert talk.standing() == "waiting, review pending, claimed by dev:mgarcia"
    for telling in (talk.approve, talk.reject, talk.claim):
        with rejected("CLAIMED_BY_ANOTHER") as caught:
            telling(JDAVIS, "review")
        assert caught.value.facts == {"claimed_by": "dev:mgarcia"}
    assert kinds(talk.approve(MGARCIA, "review")) == ["checkpoint_approved"]


def test_to_claim_again_says_nothing_new() -> None:
    talk = pending()
    talk.claim(MGARCIA, "review")
    assert talk.claim(MGARCIA, "review") == []


def test_a_claim_can_be_given_back() -> None:
    talk = pending()
    talk.claim(MGARCIA, "review")
    assert talk.release(MGARCIA, "review") == ["checkpoint_released review by=mgarcia"]
    assert kinds(talk.approve(JDAVIS, "review")) == ["checkpoint_approved"]


def test_why_a_checkpoint_is_claimed_or_given_back_is_on_the_record() -> None:
    talk = pending()
    claimed = talk.hear(Claim(MGARCIA, "review", payload("I know the case")))
    assert claimed == ["checkpoint_claimed review by=mgarcia reason=I know the case"]
    released = talk.hear(Release(MGARCIA, "review", payload("on leave")))
    assert released == ["checkpoint_released review by=mgarcia reason=on leave"]


def test_only_the_claimant_gives_a_claim_back() -> None:
    talk = pending()
    with rejected("NOT_CLAIMED_BY_CALLER") as caught:
        talk.release(JDAVIS, "review")
    assert "nobody holds it" in caught.value.sentence
    talk.claim(MGARCIA, "review")
    with rejected("NOT_CLAIMED_BY_CALLER") as caught:
        talk.release(JDAVIS, "review")
    assert "dev:mgarcia holds it" in caught.value.sentence


def test_an_assignment_moves_the_work_and_ends_a_claim() -> None:
    talk = pending(assigned_to="dev:tlee")
    talk.claim(MGARCIA, "review")
    told = Assign(OPERATOR, "review", JDAVIS, payload("on leave"))
    assert talk.hear(told) == ["checkpoint_assigned review by=operator person=dev:jdavis reason=on leave"]
    assert talk.standing() == "waiting, review pending, assigned to dev:jdavis"
    assert kinds(talk.approve(JDAVIS, "review")) == ["checkpoint_approved"]


def test_an_assignment_keeps_no_other_holder_of_the_role_away() -> None:
    talk = pending(assigned_to="dev:jdavis")
    assert kinds(talk.approve(MGARCIA, "review")) == ["checkpoint_approved"]


@pytest.mark.parametrize(("assignee", "code"), [(OPERATOR, "ROLE_MISSING"), (CASEBOT, "NOT_A_PERSON")])
def test_only_who_may_decide_can_be_assigned(assignee: Principal, code: str) -> None:
    with rejected(code):
        pending().assign(MGARCIA, "review", assignee)


# -- where there is nothing to decide ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "code"),
    [("a", "NOT_A_CHECKPOINT"), ("nowhere", "CHECKPOINT_UNKNOWN"), ("later", "CHECKPOINT_NOT_PENDING")],
)
def test_only_a_pending_checkpoint_is_decided_or_held(name: str, code: str) -> None:
    talk = begun(step("a"), checkpoint("later"))
    for telling in (talk.approve, talk.reject, talk.claim, talk.release):
        with rejected(code):
            telling(JDAVIS, name)
    with rejected(code):
        talk.assign(OPERATOR, name, JDAVIS)


def test_nothing_is_decided_after_the_end() -> None:
    talk = pending()
    talk.cancel()
    for telling in (talk.approve, talk.reject, talk.claim, talk.release):
        with rejected("OPERATION_FINAL"):
            telling(JDAVIS, "review")


# -- refusals ----------------------------------------------------------------------------------------------------------


def test_a_refusal_is_noted_with_who_and_why() -> None:
    talk = pending()
    noted = ["decision_refused review by=casebot code=NOT_A_PERSON"]
    assert talk.note_refusal(CASEBOT, "review", "NOT_A_PERSON") == noted
    assert talk.standing() == "waiting, review pending"


def test_the_same_refusal_is_noted_once_a_minute() -> None:
    talk = pending()
    noted = [offset for offset in range(0, 200, 10) if talk.at(f"{offset}s").note_refusal(CASEBOT, "review", "X")]
    assert noted == [0, 60, 120, 180]


def test_other_refusals_are_noted_beside_it() -> None:
    talk = begun(checkpoint("first"), checkpoint("second"))
    talk.note_refusal(CASEBOT, "first", "NOT_A_PERSON")
    assert talk.note_refusal(CASEBOT, "first", "STALE_DIGEST")
    assert talk.note_refusal(OPERATOR, "first", "NOT_A_PERSON")
    assert talk.note_refusal(CASEBOT, "second", "NOT_A_PERSON")
    assert not talk.note_refusal(CASEBOT, "first", "NOT_A_PERSON")


def test_a_flood_of_refusals_is_remembered_in_bounded_space() -> None:
    talk = pending()
    for number in range(40):
        talk.note_refusal(person(f"p{number}"), "review", "ROLE_MISSING")
    assert len(talk.checkpoint("review").refusals) == 16


def test_a_refusal_at_what_is_no_checkpoint_or_after_the_end_is_not_noted() -> None:
    talk = begun(step("a"), checkpoint("review"))
    assert talk.note_refusal(CASEBOT, "a", "NOT_A_CHECKPOINT") == []
    assert talk.note_refusal(CASEBOT, "nowhere", "CHECKPOINT_UNKNOWN") == []
    talk.cancel()
    assert talk.note_refusal(CASEBOT, "review", "OPERATION_FINAL") == []


# -- nobody to decide --------------------------------------------------------------------------------------------------


def test_a_checkpoint_that_nobody_may_decide_is_unattended_after_a_while() -> None:
    talk = begun(step("a"), checkpoint("review"))
    talk.wait("1m").do("a")
    assert talk.at("15m59s").find_nobody("review") == []
    assert talk.at("16m5s").find_nobody("review") == ["unattended review due_at=+16m late_ms=5s"]
    assert talk.at("1h").find_nobody("review") == []


def test_only_the_pending_checkpoint_can_be_unattended() -> None:
    talk = begun(step("a"), checkpoint("review"), checkpoint("second"))
    talk.take("a")
    assert talk.at("1h").find_nobody("review") == []
    talk.finish("a")
    talk.at("2h")
    assert talk.find_nobody("second") == []
    talk.reject(JDAVIS, "review")
    assert talk.at("3h").find_nobody("review") == []


def test_a_checkpoint_that_nobody_was_asked_about_is_not_unattended() -> None:
    talk = begun(step("a"), checkpoint("review"))
    talk.take("a")
    talk.pause()
    talk.finish("a")
    assert talk.standing() == "paused, review ahead"
    assert talk.at("1h").find_nobody("review") == []


def test_a_pending_checkpoint_is_not_unattended_after_the_end() -> None:
    talk = pending()
    talk.cancel()
    assert talk.at("1h").find_nobody("review") == []


def test_an_instance_stands_for_what_it_always_stood_for() -> None:
    operation: Operation = begun(step("a"), checkpoint("review")).operation
    assert [operation.name_of(instance) for instance in (-1, 0, 1, 2, 3)] == ["", "", "a", "review", ""]
