"""The blocking client: what it asks, and what it makes of the answers."""

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from hmsact import AlreadyExists, InvalidArgument, Orchestrator, Recorded, Step, Unavailable
from hmsact.v1 import checkpoint_pb2, operation_pb2, system_pb2, timeline_pb2
from hmsact.wanted import Wanted, filter_of

from tests.sdk.fake import OPERATION, START, FakeDaemon, Turns, operation, recorded, refuse

FLOW = [Step("validate_form", svc="FSA")]


def started(operation_id: str = OPERATION) -> operation_pb2.StartOperationResponse:
    return operation_pb2.StartOperationResponse(operation_id=operation_id, recorded=recorded())


def got(**facts: Any) -> operation_pb2.GetOperationResponse:
    return operation_pb2.GetOperationResponse(operation=operation(**facts))


def test_start_asks_for_what_was_said_and_returns_a_handle(fake: FakeDaemon, act: Orchestrator) -> None:
    fake.on("StartOperation", started())
    found = act.start(
        name="loan_forgiveness",
        steps=FLOW,
        input={"income": 41_250},
        key="case-7",
        key_policy="reject_any",
        labels={"office": "east"},
        reason="the form came in",
        requested_by="maria",
    )
    (asked,) = fake.requests("StartOperation")
    assert asked.definition == b'{"name":"loan_forgiveness","steps":[{"step":"validate_form","svc":"FSA"}]}'
    assert asked.input == b'{"income":41250}'
    assert (asked.namespace, asked.key, asked.reason, asked.requested_by) == (
        "loans",
        "case-7",
        "the form came in",
        "maria",
    )
    assert asked.key_policy == operation_pb2.KEY_POLICY_REJECT_ANY
    assert dict(asked.labels) == {"office": "east"}
    assert len(asked.request_id) == 36
    assert fake.heard[0].metadata["authorization"] == "Bearer dev:jdavis@fsa.gov"
    assert (found.id, found.name, found.state, found.key, found.labels) == (
        OPERATION,
        "loan_forgiveness",
        "running",
        "case-7",
        {"office": "east"},
    )
    assert found.recorded is not None
    assert found.recorded.receipt.leaf == "abcd"


def test_no_input_is_not_the_same_as_null_said(fake: FakeDaemon, act: Orchestrator) -> None:
    fake.on("StartOperation", started())
    act.start(name="a", steps=FLOW)
    act.start(name="a", steps=FLOW, input=0)
    assert [asked.input for asked in fake.requests("StartOperation")] == [b"", b"0"]


def test_what_cannot_be_written_never_leaves(fake: FakeDaemon, act: Orchestrator) -> None:
    with pytest.raises(InvalidArgument, match="input/when: a datetime has no JSON form"):
        act.start(name="a", steps=FLOW, input={"when": datetime.now(UTC)})
    assert fake.heard == []


def test_an_unreachable_daemon_is_asked_again_with_the_same_request_id(fake: FakeDaemon, act: Orchestrator) -> None:
    fake.on(
        "StartOperation",
        Turns(
            lambda _, context: refuse(context, grpc.StatusCode.UNAVAILABLE, "shutting down"),
            lambda _, context: refuse(context, grpc.StatusCode.UNAVAILABLE, "shutting down"),
            lambda *_: started(),
        ),
    )
    assert act.start(name="a", steps=FLOW).id == OPERATION
    assert len({asked.request_id for asked in fake.requests("StartOperation")}) == 1
    assert len(fake.requests("StartOperation")) == 3


def test_a_refusal_is_not_asked_again(fake: FakeDaemon, act: Orchestrator) -> None:
    fake.on("StartOperation", lambda _, context: refuse(context, grpc.StatusCode.ALREADY_EXISTS, "taken", "KEY_IN_USE"))
    with pytest.raises(AlreadyExists):
        act.start(name="a", steps=FLOW, key="case-7")
    assert len(fake.heard) == 1


def test_request_id_of_the_caller_is_used(fake: FakeDaemon, act: Orchestrator) -> None:
    fake.on("StartOperation", started())
    act.start(name="a", steps=FLOW, request_id="mine")
    assert fake.requests("StartOperation")[0].request_id == "mine"


def test_handle_fetches_what_a_start_did_not_tell(fake: FakeDaemon, act: Orchestrator) -> None:
    fake.on("StartOperation", started())
    fake.on("GetOperation", got(input=b'{"a":1}', output=b"[2]", state=operation_pb2.OPERATION_STATE_COMPLETED))
    found = act.start(name="loan_forgiveness", steps=FLOW)
    assert found.state == "running"
    assert found.output == [2]
    assert found.input == {"a": 1}
    assert found.state == "completed"
    assert found.is_final
    assert found.start_time == START
    assert [item.name for item in found.items] == ["validate_form", "eligibility_check", "human_review"]
    assert len(fake.requests("GetOperation")) == 1


def test_returning_the_open_operation_shows_that_one(fake: FakeDaemon, act: Orchestrator) -> None:
    fake.on("StartOperation", started())
    fake.on("GetOperation", got())
    assert act.start(name="a", steps=FLOW, key="k", key_policy="return_open").name == "loan_forgiveness"


def test_wait_goes_on_until_the_operation_is_final(fake: FakeDaemon, act: Orchestrator) -> None:
    def now(state: operation_pb2.OperationState.ValueType) -> operation_pb2.WaitOperationResponse:
        return operation_pb2.WaitOperationResponse(operation=operation(state=state))

    fake.on("GetOperation", got())
    fake.on(
        "WaitOperation",
        Turns(
            lambda *_: now(operation_pb2.OPERATION_STATE_WAITING),
            lambda _, context: refuse(context, grpc.StatusCode.CANCELLED, "shutting down"),
            lambda *_: now(operation_pb2.OPERATION_STATE_COMPLETED),
        ),
    )
    found = act.get(OPERATION)
    assert found.wait() is found
    assert found.state == "completed"
    assert [asked.timeout.seconds for asked in fake.requests("WaitOperation")] == [60, 60, 60]


def test_wait_with_a_timeout_returns_the_operation_as_it_is_then(fake: FakeDaemon, act: Orchestrator) -> None:
    waited = threading.Event()

    def wait(request: operation_pb2.WaitOperationRequest, _: Any) -> operation_pb2.WaitOperationResponse:
        waited.wait(request.timeout.seconds + request.timeout.nanos / 1e9)
        return operation_pb2.WaitOperationResponse(operation=operation())

    fake.on("WaitOperation", wait)
    assert act.wait(OPERATION, timedelta(milliseconds=20)).state == "running"


def test_operations_are_fetched_page_by_page_as_they_are_read(fake: FakeDaemon, act: Orchestrator) -> None:
    def page(request: operation_pb2.ListOperationsRequest, _: Any) -> operation_pb2.ListOperationsResponse:
        number = int(request.page_token or 0)
        return operation_pb2.ListOperationsResponse(
            operations=[operation(id=f"op_{number}"), operation(id=f"op_{number}b")],
            next_page_token=str(number + 1) if number < 2 else "",
        )

    fake.on("ListOperations", page)
    found = act.operations(state="stalled", name="loan", key='a"b\\c', labels={"office": "east"}, started_by="dev:x")
    assert next(found).id == "op_0"
    assert len(fake.heard) == 1
    assert [operation.id for operation in found] == ["op_0b", "op_1", "op_1b", "op_2", "op_2b"]
    assert fake.requests("ListOperations")[0].filter == (
        r'state = "stalled" AND name = "loan" AND key = "a\"b\\c" AND started_by = "dev:x" AND labels.office = "east"'
    )
    assert [found.id for found in act.operations(limit=2)] == ["op_0", "op_0b"]
    assert fake.requests("ListOperations")[-1].page_size == 2


def test_count_asks_with_the_same_filter(fake: FakeDaemon, act: Orchestrator) -> None:
    fake.on("CountOperations", operation_pb2.CountOperationsResponse(count=41))
    assert act.count(state="waiting") == 41
    assert fake.requests("CountOperations")[0].filter == 'state = "waiting"'


CHANGES: list[tuple[str, Any, Any, dict[str, Any]]] = [
    ("Pause", operation_pb2.PauseOperationResponse, lambda act: act.pause("op_1", "lunch"), {"reason": "lunch"}),
    (
        "Pause",
        operation_pb2.PauseOperationResponse,
        lambda act: act.pause("op_1", "storm", clock="stop"),
        {"clock": operation_pb2.PAUSE_CLOCK_STOP},
    ),
    ("Resume", operation_pb2.ResumeOperationResponse, lambda act: act.resume("op_1"), {"reason": ""}),
    (
        "Cancel",
        operation_pb2.CancelOperationResponse,
        lambda act: act.cancel("op_1", expected_revision=3),
        {"expected_revision": 3},
    ),
    ("RetryStep", operation_pb2.RetryStepResponse, lambda act: act.retry("op_1", "s"), {"step": "s"}),
    ("SkipStep", operation_pb2.SkipStepResponse, lambda act: act.skip("op_1", "s", "r"), {"step": "s", "reason": "r"}),
    (
        "ApproveCheckpoint",
        checkpoint_pb2.ApproveCheckpointResponse,
        lambda act: act.approve("op_1", "c", "fine", seen="abc"),
        {"checkpoint": "c", "comment": "fine", "seen": "abc"},
    ),
    ("RejectCheckpoint", checkpoint_pb2.RejectCheckpointResponse, lambda act: act.reject("op_1", "c"), {"seen": ""}),
    ("ClaimCheckpoint", checkpoint_pb2.ClaimCheckpointResponse, lambda act: act.claim("op_1", "c"), {}),
    ("ReleaseCheckpoint", checkpoint_pb2.ReleaseCheckpointResponse, lambda act: act.release("op_1", "c"), {}),
    (
        "AssignCheckpoint",
        checkpoint_pb2.AssignCheckpointResponse,
        lambda act: act.assign("op_1", "c", "dev:tlee@fsa.gov"),
        {"assignee": "dev:tlee@fsa.gov"},
    ),
]


@pytest.mark.parametrize(("rpc", "response", "change", "facts"), CHANGES)
def test_every_change_carries_a_request_id_and_returns_what_was_recorded(
    fake: FakeDaemon, act: Orchestrator, rpc: str, response: Any, change: Any, facts: dict[str, Any]
) -> None:
    rpc += "Operation" if rpc in ("Pause", "Resume", "Cancel") else ""
    fake.on(rpc, response(recorded=recorded(operation_pb2.OPERATION_STATE_PAUSED)))
    done = change(act)
    (asked,) = fake.requests(rpc)
    assert (asked.operation_id, asked.namespace) == ("op_1", "loans")
    assert len(asked.request_id) == 36
    assert {name: getattr(asked, name) for name in facts} == facts
    assert isinstance(done, Recorded)
    assert (done.state, done.revision, done.sequence, done.is_repeated) == ("paused", 1, 7, False)
    assert (done.receipt.log, done.receipt.index, done.receipt.seal) == ("tower/log/0", 41, "a note")


def test_an_operation_will_do_wherever_an_id_is_asked_for(fake: FakeDaemon, act: Orchestrator) -> None:
    fake.on("GetOperation", got())
    fake.on("PauseOperation", operation_pb2.PauseOperationResponse(recorded=recorded()))
    act.pause(act.get("01jnz"))
    assert fake.requests("PauseOperation")[0].operation_id == OPERATION


def test_inbox_gathers_every_page(fake: FakeDaemon, act: Orchestrator) -> None:
    def page(request: checkpoint_pb2.ListCheckpointsRequest, _: Any) -> checkpoint_pb2.ListCheckpointsResponse:
        pending = checkpoint_pb2.PendingCheckpoint(operation_id=f"op_{request.page_token}", checkpoint="human_review")
        pending.since_time.FromDatetime(START)
        return checkpoint_pb2.ListCheckpointsResponse(
            checkpoints=[pending], next_page_token="" if request.page_token else "2"
        )

    fake.on("ListCheckpoints", page)
    found = act.inbox("fsa.officer")
    assert [pending.operation_id for pending in found] == ["op_", "op_2"]
    assert found[0].since_time == START
    assert found[0].due_time is None
    assert fake.requests("ListCheckpoints")[0].role == "fsa.officer"


def test_a_decision_names_the_digest_of_what_was_shown(fake: FakeDaemon, act: Orchestrator) -> None:
    whole = operation(input=b'{"a":1}')
    fake.on(
        "GetCheckpoint",
        checkpoint_pb2.GetCheckpointResponse(
            operation=whole, checkpoint=whole.items[2], releases=["update_balance"], digest="c6ff", may_decide=True
        ),
    )
    fake.on("ApproveCheckpoint", checkpoint_pb2.ApproveCheckpointResponse(recorded=recorded()))
    shown = act.shown("op_1")
    assert (shown.checkpoint.name, shown.checkpoint.role) == ("human_review", "fsa.officer")
    assert (shown.releases, shown.operation.input, shown.may_decide) == (("update_balance",), {"a": 1}, True)
    act.approve(shown.operation, shown.checkpoint.name, seen=shown)
    assert fake.requests("ApproveCheckpoint")[0].seen == "c6ff"


def test_export_puts_the_parts_together(fake: FakeDaemon, act: Orchestrator) -> None:
    fake.on(
        "ExportOperation",
        lambda *_: iter([timeline_pb2.ExportOperationResponse(part=part) for part in (b"one ", b"file")]),
    )
    assert act.export("op_1") == b"one file"


def test_whoami_and_info_are_read(fake: FakeDaemon, act: Orchestrator) -> None:
    fake.on("Whoami", system_pb2.WhoamiResponse(principal=operation().started_by, permissions=["*"]))
    info = system_pb2.GetSystemInfoResponse(version="0.1.0", log="tower/log/0", dev=True, limits={"steps_max": 1000})
    info.start_time.FromDatetime(START)
    fake.on("GetSystemInfo", info)
    identity = act.whoami()
    assert (identity.principal.id, identity.principal.kind, str(identity.principal)) == (
        "dev:developer",
        "person",
        "developer",
    )
    assert identity.permissions == ("*",)
    assert act.info().limits == {"steps_max": 1000}
    assert act.info().start_time == START


def test_one_client_serves_many_threads(fake: FakeDaemon, act: Orchestrator) -> None:
    fake.on("GetOperation", lambda request, _: got(id=request.operation_id))
    found: list[str] = []
    threads = [threading.Thread(target=lambda n=n: found.append(act.get(f"op_{n}").id)) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == sorted(f"op_{n}" for n in range(16))


def test_a_closed_client_says_so(fake: FakeDaemon) -> None:
    with Orchestrator(fake.address) as act:
        pass
    with pytest.raises((Unavailable, ValueError)):
        act.whoami()


def test_everything_that_operations_are_wanted_by_is_said_in_the_filter() -> None:
    wanted = Wanted(
        state=["stalled", "waiting"],
        role="fsa.officer",
        labels={"office": "east", "urgent": None},
        text='jane "roe"',
        since=datetime(2026, 11, 1, tzinfo=UTC),
        ended_until="2026-12-01T00:00:00Z",
    )
    assert filter_of(wanted) == (
        r'state = "stalled" OR state = "waiting" AND text = "jane \"roe\"" AND awaited.role = "fsa.officer"'
        ' AND labels.office = "east" AND labels.urgent:*'
        ' AND start_time >= "2026-11-01T00:00:00+00:00" AND end_time < "2026-12-01T00:00:00Z"'
    )
    with pytest.raises(ValueError, match="without a zone"):
        filter_of(Wanted(until=datetime(2026, 11, 1)))  # noqa: DTZ001 - that is the point
    with pytest.raises(ValueError, match="state is one of none"):
        filter_of(Wanted(name="flow", state=[]))
    with pytest.raises(TypeError, match="colour"):
        filter_of({"colour": "red"})  # type: ignore[typeddict-unknown-key]


def test_a_count_tells_whether_it_is_exact_and_its_groups(fake: FakeDaemon, act: Orchestrator) -> None:
    groups = [operation_pb2.CountedGroup(value="IRS", count=3)]
    fake.on("CountOperations", operation_pb2.CountOperationsResponse(count=5, is_at_least=True, groups=groups))
    counted = act.counted("awaited.service", text="roe")
    assert (counted.count, counted.is_exact, counted.groups, str(counted)) == (5, False, {"IRS": 3}, "at least 5")
    assert fake.requests("CountOperations")[0].group_by == "awaited.service"


def test_an_empty_page_that_is_not_the_last_is_gone_beyond(fake: FakeDaemon, act: Orchestrator) -> None:
    pages = {
        "": operation_pb2.ListOperationsResponse(next_page_token="on"),
        "on": operation_pb2.ListOperationsResponse(operations=[operation_pb2.Operation(id="op_1")]),
    }
    fake.on("ListOperations", lambda request, _: pages[request.page_token])
    assert [operation.id for operation in act.operations(order_by="end_time desc", limit=5)] == ["op_1"]
    assert fake.requests("ListOperations")[0].order_by == "end_time desc"


@pytest.mark.parametrize("field", ["key", "request_id"])
def test_an_empty_key_or_request_id_is_refused_and_does_not_mean_none(
    fake: FakeDaemon, act: Orchestrator, field: str
) -> None:
    said: dict[str, Any] = {field: ""}
    with pytest.raises(InvalidArgument, match=f"the {field} is empty") as refused:
        act.start(name="flow", steps=FLOW, **said)
    assert [violation.field for violation in refused.value.violations] == [field]
    assert not fake.heard


# -- for whom ----------------------------------------------------------------------------------------------------------


def test_each_person_that_a_program_acts_for_is_said_beside_its_own_credential(
    fake: FakeDaemon, act: Orchestrator
) -> None:
    fake.on("Whoami", system_pb2.WhoamiResponse())
    alice, bob = act.on_behalf_of("alice"), act.on_behalf_of("bob")
    for who in (alice, act, bob, alice.on_behalf_of("carol")):
        who.whoami()
    said = [heard.metadata.get("hmsact-on-behalf-of") for heard in fake.heard]
    assert said == ["alice", None, "bob", "carol"]
    assert {heard.metadata["authorization"] for heard in fake.heard} == {"Bearer dev:jdavis@fsa.gov"}
    assert (alice.namespace, alice.address) == ("loans", fake.address)
    assert "alice" not in repr(alice) + repr(alice._target)


def test_streams_say_for_whom_too(fake: FakeDaemon, act: Orchestrator) -> None:
    fake.on("ExportOperation", lambda *_: iter([timeline_pb2.ExportOperationResponse(part=b"file")]))
    act.on_behalf_of("alice").export(OPERATION)
    assert [heard.metadata["hmsact-on-behalf-of"] for heard in fake.heard] == ["alice"]


def test_whoever_a_connection_is_lent_to_does_not_close_it(fake: FakeDaemon, act: Orchestrator) -> None:
    fake.on("Whoami", system_pb2.WhoamiResponse())
    with act.on_behalf_of("alice") as alice:
        alice.whoami()
    act.whoami()
    assert len(fake.heard) == 2


@pytest.mark.parametrize("token", ["", "to\nken", "tökén"])
def test_what_no_header_can_carry_is_nobodys_token(act: Orchestrator, token: str) -> None:
    with pytest.raises(InvalidArgument, match="token of the person"):
        act.on_behalf_of(token)
