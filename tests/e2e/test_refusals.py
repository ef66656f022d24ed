"""What may not be done now, or not by this caller, is refused with a clear status, and nothing is recorded."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from google.protobuf.duration_pb2 import Duration
from hmsact.testing import Daemon
from hmsact.v1 import checkpoint_pb2, operation_pb2, timeline_pb2

from tests.e2e.raw import SERVICE, VERBS, Caller, RawWorker, checkpoint, hello, refused, step

UNKNOWN = "op_" + "0" * 26

Call = Callable[[str], Any]


def steering(caller: Caller) -> dict[str, Call]:
    """Every RPC that changes an operation, as a call of this caller."""
    return {verb: partial(caller.steer, verb) for verb in VERBS}


def reading(caller: Caller) -> dict[str, Call]:
    """Every RPC that shows an operation. Streams are read to their end."""

    def by(rpc: Any, request: Any, **fields: Any) -> Call:
        return lambda operation_id: caller.call(rpc, request(operation_id=operation_id, **fields))

    def all_of(rpc: Any, request: Any) -> Call:
        return lambda operation_id: list(caller.stream(rpc, request(operation_id=operation_id)))

    return {
        "get": by(caller.operations.GetOperation, operation_pb2.GetOperationRequest),
        "wait": by(caller.operations.WaitOperation, operation_pb2.WaitOperationRequest, timeout=Duration(seconds=600)),
        "checkpoint": by(caller.checkpoints.GetCheckpoint, checkpoint_pb2.GetCheckpointRequest),
        "events": by(caller.timelines.ListEvents, timeline_pb2.ListEventsRequest),
        "explain": by(caller.timelines.ExplainOperation, timeline_pb2.ExplainOperationRequest),
        "watch": all_of(caller.timelines.WatchOperation, timeline_pb2.WatchOperationRequest),
        "export": all_of(caller.timelines.ExportOperation, timeline_pb2.ExportOperationRequest),
    }


@pytest.fixture
def service(daemon: Daemon) -> Iterator[Caller]:
    with Caller(daemon.address, SERVICE) as caller:
        yield caller


# -- which operation ---------------------------------------------------------------------------------------------------


def test_an_unknown_operation_is_not_found_by_any_rpc_and_none_hangs(developer: Caller, officer: Caller) -> None:
    elsewhere = developer.start(checkpoint(), namespace="elsewhere")
    for name, call in {**reading(developer), **steering(officer)}.items():
        for operation_id in (UNKNOWN, "zzzz", elsewhere):
            with refused("NOT_FOUND", "OPERATION_UNKNOWN") as refusal:
                call(operation_id)
            assert operation_id in refusal.sentence, name


def test_what_is_no_id_is_told_so_by_every_rpc(developer: Caller, officer: Caller) -> None:
    for call in {**reading(developer), **steering(officer)}.values():
        for said in ("", "OP", "op-1", "%", "a" * 65, "ü", "op_\x00"):
            with refused("INVALID_ARGUMENT", "INVALID_REQUEST") as refusal:
                call(said)
            assert refusal.violations == [("operation_id", "BAD_OPERATION_ID")]


def test_a_part_of_an_id_will_do_as_long_as_it_is_of_one_only(developer: Caller, officer: Caller) -> None:
    first, second = developer.start(checkpoint()), developer.start(checkpoint())
    for call in {**reading(developer), **steering(officer)}.values():
        with refused("FAILED_PRECONDITION", "OPERATION_AMBIGUOUS"):
            call("op_")
    assert developer.get(first[-10:]).id == first
    officer.steer("approve", second[-12:])
    assert developer.get(second).state == operation_pb2.OPERATION_STATE_COMPLETED
    assert developer.get(first).state == operation_pb2.OPERATION_STATE_WAITING


# -- which state -------------------------------------------------------------------------------------------------------


def test_nothing_more_can_be_done_with_what_has_ended(developer: Caller, officer: Caller) -> None:
    cancelled = developer.start(step(), checkpoint())
    officer.steer("cancel", cancelled)
    kinds = developer.kinds(cancelled)
    for name, call in steering(officer).items():
        with refused("FAILED_PRECONDITION", "OPERATION_FINAL") as refusal:
            call(cancelled)
        assert refusal.preconditions == ["OPERATION_FINAL"], name
    assert developer.kinds(cancelled) == kinds


def test_pausing_twice_and_resuming_what_runs_are_refused(developer: Caller, officer: Caller) -> None:
    operation_id = developer.start(checkpoint())
    steer = steering(officer)
    with refused("FAILED_PRECONDITION", "OPERATION_NOT_PAUSED"):
        steer["resume"](operation_id)
    steer["pause"](operation_id)
    with refused("FAILED_PRECONDITION", "OPERATION_PAUSED"):
        steer["pause"](operation_id)
    steer["resume"](operation_id)
    assert developer.kinds(operation_id)[2:] == ["operation_paused", "operation_resumed"]


def test_only_a_stalled_step_is_retried_or_skipped(developer: Caller, officer: Caller) -> None:
    operation_id = developer.start(step(), checkpoint())
    kinds = developer.kinds(operation_id)
    for verb in ("retry", "skip"):
        with refused("FAILED_PRECONDITION", "STEP_NOT_STALLED"):
            officer.steer(verb, operation_id)
    for name, code, reason in (
        ("review", "FAILED_PRECONDITION", "NOT_A_STEP"),
        ("nothing", "NOT_FOUND", "STEP_UNKNOWN"),
    ):
        with refused(code, reason):
            officer.steer("retry", operation_id, step=name)
        with refused(code, reason):
            officer.steer("skip", operation_id, step=name)
    assert developer.kinds(operation_id) == kinds


def test_a_stalled_step_is_skipped_for_a_reason_and_by_somebody_else(
    daemon: Daemon, developer: Caller, officer: Caller
) -> None:
    operation_id = developer.start(step(svc="Skip", retries=0))
    with Caller(daemon.address, "dev:svc/Skip") as caller, RawWorker(caller, hello("Skip")) as worker:
        worker.failed(worker.call().attempt)
        developer.happens(operation_id, "step_stalled")
    with refused("INVALID_ARGUMENT") as refusal:
        officer.steer("skip", operation_id, reason="")
    assert refusal.violations == [("reason", "REQUIRED")]
    with refused("PERMISSION_DENIED", "STARTED_BY_CALLER"):
        developer.steer("skip", operation_id)
    assert developer.get(operation_id).state == operation_pb2.OPERATION_STATE_STALLED
    officer.steer("skip", operation_id)
    assert developer.get(operation_id).state == operation_pb2.OPERATION_STATE_COMPLETED


def test_a_flow_that_has_changed_since_is_not_steered(developer: Caller, officer: Caller) -> None:
    operation_id = developer.start(checkpoint())
    revision = developer.get(operation_id).revision
    for wrong in (revision + 1, -1):
        with refused("ABORTED", "REVISION_CHANGED") as refusal:
            officer.steer("cancel", operation_id, expected_revision=wrong)
        assert refusal.metadata["revision"] == str(revision)
    officer.steer("cancel", operation_id, expected_revision=revision)


# -- who decides -------------------------------------------------------------------------------------------------------


def test_only_a_pending_checkpoint_is_decided_and_only_once(
    developer: Caller, officer: Caller, other_officer: Caller
) -> None:
    operation_id = developer.start(checkpoint(), step(), checkpoint("later"))
    steer = steering(officer)
    for name, code, reason in (
        ("later", "FAILED_PRECONDITION", "CHECKPOINT_NOT_PENDING"),
        ("check", "FAILED_PRECONDITION", "NOT_A_CHECKPOINT"),
        ("nothing", "NOT_FOUND", "CHECKPOINT_UNKNOWN"),
    ):
        with refused(code, reason):
            officer.steer("approve", operation_id, checkpoint=name)
    steer["approve"](operation_id)
    for call in (steer["approve"], steer["reject"], steering(other_officer)["reject"]):
        with refused("FAILED_PRECONDITION", "ALREADY_DECIDED") as refusal:
            call(operation_id)
        assert refusal.metadata["decided_by"] == "dev:jdavis@fsa.gov"
    assert developer.kinds(operation_id).count("checkpoint_approved") == 1


def test_a_decision_about_something_else_than_was_shown_is_refused(developer: Caller, officer: Caller) -> None:
    operation_id = developer.start(checkpoint())
    shown = officer.call(
        officer.checkpoints.GetCheckpoint, checkpoint_pb2.GetCheckpointRequest(operation_id=operation_id)
    )
    other = "0" * 64
    for seen in (other, shown.digest.upper(), shown.digest[:-1], "x" * 10_000):
        with refused("FAILED_PRECONDITION", "STALE_DIGEST") as refusal:
            officer.steer("approve", operation_id, seen=seen)
        assert refusal.metadata["digest"] == shown.digest
    officer.steer("approve", operation_id, seen=shown.digest)
    approved = developer.events(operation_id)[-2]
    assert (approved.kind, approved.data.digest, approved.data.unseen) == ("checkpoint_approved", shown.digest, False)


def test_a_decision_that_names_nothing_seen_is_recorded_as_unseen(developer: Caller, officer: Caller) -> None:
    operation_id = developer.start(checkpoint())
    officer.steer("approve", operation_id)
    assert developer.events(operation_id)[-2].data.unseen


def test_who_may_not_decide_is_refused_and_the_refusal_is_kept_once_a_minute(
    developer: Caller, officer: Caller, agent: Caller, service: Caller
) -> None:
    by_developer = developer.start(checkpoint(), checkpoint("counsel", role="fsa.counsel"))
    by_officer = officer.start(checkpoint())
    by_agent = agent.start(checkpoint())
    for verb in ("approve", "reject", "approve"):
        with refused("PERMISSION_DENIED", "STARTED_BY_CALLER"):
            developer.steer(verb, by_developer)
        with refused("PERMISSION_DENIED", "STARTED_BY_CALLER"):
            officer.steer(verb, by_officer)
        # Whoever is responsible for the agent that started it counts as its starter.
        with refused("PERMISSION_DENIED", "STARTED_BY_CALLER"):
            developer.steer(verb, by_agent)
        for nobody in (agent, service):
            with refused("PERMISSION_DENIED", "PERMISSION_MISSING") as refusal:
                nobody.steer(verb, by_developer)
            assert refusal.metadata["permission"] == "checkpoint.decide"
    officer.steer("approve", by_developer)
    with refused("PERMISSION_DENIED", "ROLE_MISSING"):
        officer.steer("approve", by_developer, checkpoint="counsel")
    refusals = [
        (event.principal.subject, event.data.code)
        for event in developer.events(by_developer)
        if event.kind == "decision_refused"
    ]
    assert refusals == [("developer", "STARTED_BY_CALLER"), ("jdavis@fsa.gov", "ROLE_MISSING")]
    assert developer.get(by_agent).state == operation_pb2.OPERATION_STATE_WAITING


def test_a_claim_holds_against_others_until_it_is_released(
    developer: Caller, officer: Caller, other_officer: Caller
) -> None:
    operation_id = developer.start(checkpoint())
    with refused("FAILED_PRECONDITION", "NOT_CLAIMED_BY_CALLER"):
        officer.steer("release", operation_id)
    officer.steer("claim", operation_id)
    for verb in ("claim", "approve", "reject"):
        with refused("FAILED_PRECONDITION", "CLAIMED_BY_ANOTHER") as refusal:
            other_officer.steer(verb, operation_id)
        assert refusal.metadata["claimed_by"] == "dev:jdavis@fsa.gov"
    with refused("FAILED_PRECONDITION", "NOT_CLAIMED_BY_CALLER"):
        other_officer.steer("release", operation_id)
    officer.steer("release", operation_id)
    other_officer.steer("approve", operation_id)


def test_a_checkpoint_is_assigned_only_to_somebody_who_could_decide_it(developer: Caller, officer: Caller) -> None:
    operation_id = developer.start(checkpoint(role="fsa.counsel"))
    for assignee, code, reason in (
        ("dev:nobody@fsa.gov", "NOT_FOUND", "PERSON_UNKNOWN"),
        ("jdavis@fsa.gov", "NOT_FOUND", "PERSON_UNKNOWN"),
        ("dev:casebot", "NOT_FOUND", "PERSON_UNKNOWN"),
        ("dev:tlee@fsa.gov", "PERMISSION_DENIED", "ROLE_MISSING"),
        ("dev:developer", "PERMISSION_DENIED", "STARTED_BY_CALLER"),
    ):
        with refused(code, reason):
            officer.steer("assign", operation_id, assignee=assignee)
    assert developer.kinds(operation_id) == ["operation_started", "checkpoint_pending"]


def test_the_reason_of_a_claim_and_of_its_release_is_recorded_and_has_a_bound(
    officer: Caller, developer: Caller
) -> None:
    operation_id = developer.start(checkpoint())
    for verb in ("claim", "release"):
        with refused("INVALID_ARGUMENT") as refusal:
            officer.steer(verb, operation_id, reason="x" * 70_000)
        assert refusal.violations == [("reason", "TOO_LONG")]
        officer.steer(verb, operation_id, reason=f"to {verb}")
    assert [dict(event.payloads) for event in developer.events(operation_id)[2:]] == [
        {"reason": b'"to claim"'},
        {"reason": b'"to release"'},
    ]


def test_a_decision_says_why_once(officer: Caller, developer: Caller) -> None:
    operation_id = developer.start(checkpoint())
    with refused("INVALID_ARGUMENT") as refusal:
        officer.steer("approve", operation_id, comment="fine", reason="x" * 70_000)
    assert refusal.violations == [("reason", "TOO_LONG"), ("reason", "SAID_TWICE")]
    officer.steer("approve", operation_id, comment="fine", reason="fine")
    assert developer.events(operation_id)[2].payloads["comment"] == b'"fine"'


# -- who is calling ----------------------------------------------------------------------------------------------------


def test_what_an_agent_and_a_service_may_not_do_is_refused_before_anything_is_looked_at(
    developer: Caller, agent: Caller, service: Caller
) -> None:
    operation_id = developer.start(step(), checkpoint())
    kinds = developer.kinds(operation_id)
    for nobody in (agent, service):
        for call in steering(nobody).values():
            with refused("PERMISSION_DENIED", "PERMISSION_MISSING"):
                call(operation_id)
        with refused("PERMISSION_DENIED", "PERMISSION_MISSING"):
            reading(nobody)["export"](operation_id)
    assert developer.kinds(operation_id) == kinds


BEARER = "authorization", "Bearer dev:jdavis@fsa.gov"


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ((("authorization", "Bearer nobody"),), "TOKEN_UNKNOWN"),
        ((("authorization", "Bearer dev:JDavis@fsa.gov"),), "TOKEN_UNKNOWN"),
        ((("authorization", "Bearer dev:svc/"),), "TOKEN_UNKNOWN"),
        ((("authorization", "Bearer "),), "TOKEN_MALFORMED"),
        ((("authorization", "Basic ZGV2"),), "SCHEME_UNKNOWN"),
        ((("authorization", ""),), "SCHEME_UNKNOWN"),
        ((BEARER, BEARER), "AUTHORIZATION_TWICE"),
        ((("authorization", "Bearer dev:casebot"), BEARER), "AUTHORIZATION_TWICE"),
    ],
    ids=str,
)
def test_who_is_calling_must_be_clear(daemon: Daemon, metadata: Any, reason: str) -> None:
    with Caller(daemon.address, metadata=metadata) as caller:
        for call in {**reading(caller), **steering(caller)}.values():
            with refused("UNAUTHENTICATED", reason) as refusal:
                call(UNKNOWN)
            assert "nobody" not in refusal.sentence
        with refused("UNAUTHENTICATED", reason):
            caller.started(checkpoint())
        with RawWorker(caller, hello("FSA")) as worker, refused("UNAUTHENTICATED", reason):
            worker.ended()


def test_a_deadline_that_is_over_changes_nothing_but_what_was_done_in_time(developer: Caller) -> None:
    operation_id = developer.start(checkpoint())
    request = operation_pb2.CancelOperationRequest(operation_id=operation_id)
    with refused("DEADLINE_EXCEEDED"):
        developer.call(developer.operations.CancelOperation, request, timeout_s=-1)
    wait = operation_pb2.WaitOperationRequest(operation_id=operation_id)
    with refused("DEADLINE_EXCEEDED"):
        developer.call(developer.operations.WaitOperation, wait, timeout_s=0.05)
    assert developer.kinds(operation_id) == ["operation_started", "checkpoint_pending"]
