"""A request id makes a request safe to repeat: one event, the same answer, whoever repeats it and whenever."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
from hmsact.testing import Daemon
from hmsact.v1 import operation_pb2

from tests.e2e.raw import Caller, RawWorker, checkpoint, definition, hello, reason_of, refused, step

TWINS = 16


def essence(recorded: operation_pb2.Recorded) -> tuple[int, int, int, bytes]:
    """What must be the same in every answer. The seal may be a later one."""
    return recorded.state, recorded.revision, recorded.sequence, recorded.receipt.leaf


def test_a_repeated_start_gets_the_first_answer_even_when_the_operation_has_gone_on(
    developer: Caller, officer: Caller
) -> None:
    first = developer.started(checkpoint(), request_id="start", input=b"1")
    officer.steer("approve", first.operation_id)
    again = developer.started(checkpoint(), request_id="start", input=b"1")
    assert again.operation_id == first.operation_id
    assert essence(again.recorded) == essence(first.recorded)
    assert (first.recorded.repeated_request, again.recorded.repeated_request) == (False, True)


@pytest.mark.parametrize("verb", ["pause", "cancel", "approve", "reject", "claim", "assign"])
def test_whatever_is_repeated_is_recorded_once(developer: Caller, officer: Caller, verb: str) -> None:
    operation_id = developer.start(checkpoint())
    first = officer.steer(verb, operation_id, request_id=f"my {verb}", reason="why")
    kinds = developer.kinds(operation_id)
    again = officer.steer(verb, operation_id, request_id=f"my {verb}", reason="why")
    assert essence(again) == essence(first)
    assert again.repeated_request
    assert developer.kinds(operation_id) == kinds


def test_an_id_used_for_something_else_is_refused(developer: Caller, officer: Caller) -> None:
    namespace = "reuse"
    first, second = developer.start(checkpoint()), developer.start(checkpoint())
    started = developer.start(checkpoint(), request_id="used", namespace=namespace)
    officer.steer("pause", first, request_id="used")
    others: tuple[dict[str, Any], ...] = (
        {"input": b"2"},
        {"key": "k"},
        {"labels": {"office": "east"}},
        {"definition": definition(checkpoint("other"))},
        {"reason": "other"},
    )
    for other in others:
        with refused("ALREADY_EXISTS", "REQUEST_ID_REUSED") as refusal:
            developer.started(
                **{"definition": definition(checkpoint()), **other}, request_id="used", namespace=namespace
            )
        assert refusal.metadata["operation_id"] == started
    for operation_id, reason in ((second, ""), (first, "other")):
        with refused("ALREADY_EXISTS", "REQUEST_ID_REUSED"):
            officer.steer("pause", operation_id, request_id="used", reason=reason)
    assert developer.count(namespace=namespace) == 1
    assert developer.get(second).state == operation_pb2.OPERATION_STATE_WAITING


def test_an_id_belongs_to_namespace_principal_and_rpc(developer: Caller, officer: Caller) -> None:
    operation_id = developer.start(checkpoint(), request_id="mine")
    assert officer.start(checkpoint(), request_id="mine") != operation_id
    assert developer.start(checkpoint(), request_id="mine", namespace="other") != operation_id
    assert not officer.steer("pause", operation_id, request_id="mine").repeated_request
    assert not officer.steer("resume", operation_id, request_id="mine").repeated_request
    assert not developer.steer("pause", operation_id, request_id="mine").repeated_request


def test_the_usual_namespace_is_the_same_whether_it_is_said_or_not(developer: Caller) -> None:
    first = developer.start(checkpoint(), request_id="usual")
    assert developer.start(checkpoint(), request_id="usual", namespace="default") == first


def test_a_refusal_is_not_remembered(developer: Caller, officer: Caller) -> None:
    operation_id = developer.start(step(svc="Late"), checkpoint())
    with refused("FAILED_PRECONDITION", "CHECKPOINT_NOT_PENDING"):
        officer.steer("approve", operation_id, request_id="early")
    with Caller(developer.address, "dev:svc/Late") as caller, RawWorker(caller, hello("Late")) as worker:
        worker.done(worker.call().attempt)
        assert worker.judged() == ("RECORDED", "")
    assert not officer.steer("approve", operation_id, request_id="early").repeated_request


@pytest.mark.parametrize("key", ["", "case"])
def test_twins_at_the_same_time_are_one(developer: Caller, officer: Caller, key: str) -> None:
    fields = {"namespace": f"twins-{len(key)}", "request_id": "twin", "key": key}
    with ThreadPoolExecutor(TWINS) as pool:
        starts = list(pool.map(lambda _: developer.started(checkpoint(), **fields), range(TWINS)))
        (operation_id,) = {start.operation_id for start in starts}
        assert [start.recorded.repeated_request for start in starts].count(False) == 1
        approve = partial(officer.steer, "approve", operation_id, namespace=fields["namespace"], request_id="twin")
        approvals = list(pool.map(lambda _: approve(), range(TWINS)))
    assert len({essence(approval) for approval in approvals}) == 1
    assert [approval.repeated_request for approval in approvals].count(False) == 1
    assert developer.count(namespace=fields["namespace"]) == 1


def test_of_many_who_decide_at_the_same_time_one_does(
    developer: Caller, officer: Caller, other_officer: Caller
) -> None:
    operation_id = developer.start(checkpoint())
    decisions = [
        partial(decider.steer, verb, operation_id)
        for decider in (officer, other_officer)
        for verb in ("approve", "reject")
    ]
    with ThreadPoolExecutor(TWINS) as pool:
        outcomes = list(pool.map(reason_of, decisions * (TWINS // len(decisions))))
    assert sorted(outcomes) == ["", *["ALREADY_DECIDED"] * (TWINS - 1)]
    assert len(developer.kinds(operation_id)) == len(["started", "pending", "decided", "ended"])


def test_a_request_id_outlives_a_restart_of_the_daemon() -> None:
    with Daemon() as daemon:
        with Caller(daemon.address) as developer:
            first = developer.started(checkpoint(), request_id="before", key="case")
        daemon.kill()
        daemon.start()
        with Caller(daemon.address) as developer:
            again = developer.started(checkpoint(), request_id="before", key="case")
            assert again.operation_id == first.operation_id
            with refused("ALREADY_EXISTS", "KEY_IN_USE"):
                developer.started(checkpoint(), request_id="after", key="case")


# -- business keys -----------------------------------------------------------------------------------------------------


def test_the_policy_says_what_becomes_of_a_key_in_use(developer: Caller, officer: Caller) -> None:
    def start(policy: operation_pb2.KeyPolicy.ValueType) -> str:
        return developer.start(checkpoint(), namespace="keys", key="case 7", key_policy=policy)

    first = start(operation_pb2.KEY_POLICY_UNSPECIFIED)
    for policy in (
        operation_pb2.KEY_POLICY_UNSPECIFIED,
        operation_pb2.KEY_POLICY_REJECT_OPEN,
        operation_pb2.KEY_POLICY_REJECT_ANY,
    ):
        with refused("ALREADY_EXISTS", "KEY_IN_USE") as refusal:
            start(policy)
        assert refusal.metadata == {"operation_id": first, "state": "waiting"}
    assert start(operation_pb2.KEY_POLICY_RETURN_OPEN) == first
    officer.steer("approve", first, namespace="keys")
    with refused("ALREADY_EXISTS", "KEY_IN_USE") as refusal:
        start(operation_pb2.KEY_POLICY_REJECT_ANY)
    assert refusal.metadata["state"] == "completed"
    second = start(operation_pb2.KEY_POLICY_RETURN_OPEN)
    assert second != first
    assert start(operation_pb2.KEY_POLICY_ALLOW) not in (first, second)
    assert developer.count(namespace="keys", filter='key = "case 7"') == 3


def test_of_many_starts_with_one_key_at_the_same_time_one_is_recorded(developer: Caller) -> None:
    start = partial(developer.start, checkpoint(), namespace="race", key="case 8")
    with ThreadPoolExecutor(TWINS) as pool:
        outcomes = list(pool.map(lambda _: reason_of(start), range(TWINS)))
    assert sorted(outcomes) == ["", *["KEY_IN_USE"] * (TWINS - 1)]
    assert developer.count(namespace="race") == 1
