"""Statuses become errors with everything that the daemon has said, on both stacks."""

import asyncio
import traceback
from datetime import timedelta

import grpc
import pytest
from google.rpc import error_details_pb2  # type: ignore[import-untyped]
from hmsact import (
    Aborted,
    AlreadyExists,
    AsyncOrchestrator,
    DeadlineExceeded,
    HmsactError,
    InternalError,
    InvalidArgument,
    NotFound,
    Orchestrator,
    PreconditionFailed,
    Refused,
    ResourceExhausted,
    Unauthenticated,
    Unavailable,
    Unimplemented,
)

from tests.sdk.fake import FakeDaemon, refuse

KINDS = [
    (grpc.StatusCode.INVALID_ARGUMENT, InvalidArgument),
    (grpc.StatusCode.NOT_FOUND, NotFound),
    (grpc.StatusCode.ALREADY_EXISTS, AlreadyExists),
    (grpc.StatusCode.FAILED_PRECONDITION, PreconditionFailed),
    (grpc.StatusCode.ABORTED, Aborted),
    (grpc.StatusCode.PERMISSION_DENIED, Refused),
    (grpc.StatusCode.UNAUTHENTICATED, Unauthenticated),
    (grpc.StatusCode.RESOURCE_EXHAUSTED, ResourceExhausted),
    (grpc.StatusCode.UNIMPLEMENTED, Unimplemented),
    (grpc.StatusCode.DEADLINE_EXCEEDED, DeadlineExceeded),
    (grpc.StatusCode.INTERNAL, InternalError),
    (grpc.StatusCode.UNAVAILABLE, Unavailable),
]


@pytest.mark.parametrize(("code", "kind"), KINDS)
def test_each_status_has_its_error(
    fake: FakeDaemon, act: Orchestrator, code: grpc.StatusCode, kind: type[HmsactError]
) -> None:
    fake.on("Whoami", lambda _, context: refuse(context, code, "a sentence", "A_REASON", who="dev:x"))
    with pytest.raises(kind) as caught:
        act.whoami()
    error = caught.value
    assert (error.message, error.reason, error.metadata, error.code) == (
        "a sentence",
        "A_REASON",
        {"who": "dev:x"},
        code.name,
    )
    assert str(error) == "a sentence"


def test_violated_fields_are_all_told(fake: FakeDaemon, act: Orchestrator) -> None:
    faults = error_details_pb2.BadRequest()
    faults.field_violations.add(field="definition/steps/1/sla", description="is no length of time", reason="BAD_SPAN")
    faults.field_violations.add(field="input", description="is not JSON", reason="NOT_JSON")
    fake.on("Whoami", lambda _, context: refuse(context, grpc.StatusCode.INVALID_ARGUMENT, "2 faults", "", faults))
    with pytest.raises(InvalidArgument) as caught:
        act.whoami()
    assert [(fault.field, fault.reason) for fault in caught.value.violations] == [
        ("definition/steps/1/sla", "BAD_SPAN"),
        ("input", "NOT_JSON"),
    ]
    assert str(caught.value) == "2 faults: definition/steps/1/sla: is no length of time; input: is not JSON"


def test_what_the_sentence_says_is_not_said_twice(fake: FakeDaemon, act: Orchestrator) -> None:
    faults = error_details_pb2.BadRequest()
    faults.field_violations.add(field="input", description="is not JSON")
    fake.on(
        "Whoami", lambda _, context: refuse(context, grpc.StatusCode.INVALID_ARGUMENT, "input: is not JSON", "", faults)
    )
    with pytest.raises(InvalidArgument) as caught:
        act.whoami()
    assert str(caught.value) == "input: is not JSON"


def test_preconditions_and_delays_are_told(fake: FakeDaemon, act: Orchestrator) -> None:
    failure = error_details_pb2.PreconditionFailure()
    failure.violations.add(type="OPERATION_FINAL", subject="completed", description="nothing more can be done")
    retry = error_details_pb2.RetryInfo()
    retry.retry_delay.FromMilliseconds(1500)
    fake.on(
        "Whoami",
        lambda _, context: refuse(context, grpc.StatusCode.FAILED_PRECONDITION, "it is over", "X", failure, retry),
    )
    with pytest.raises(PreconditionFailed) as caught:
        act.whoami()
    assert caught.value.retry_delay == timedelta(seconds=1.5)
    assert [fault.reason for fault in caught.value.violations] == ["OPERATION_FINAL"]


def test_a_status_without_details_still_makes_a_sentence(fake: FakeDaemon, act: Orchestrator) -> None:
    fake.on("Whoami", lambda _, context: context.abort(grpc.StatusCode.INTERNAL, "incident 12"))
    with pytest.raises(InternalError, match="incident 12"):
        act.whoami()


def test_a_daemon_that_is_not_there_is_named_with_the_cause(fake: FakeDaemon, act: Orchestrator) -> None:
    fake.stop()
    with pytest.raises(Unavailable, match=rf"{act.address} \(Connection refused\); is hmsactd running"):
        act.whoami()


def test_an_error_is_shown_without_what_grpc_says_of_it(fake: FakeDaemon, act: Orchestrator) -> None:
    fake.on("Whoami", lambda _, context: refuse(context, grpc.StatusCode.NOT_FOUND, "a sentence"))
    with pytest.raises(NotFound) as caught:
        act.whoami()
    assert "_InactiveRpcError" not in "".join(traceback.format_exception(caught.value))
    assert isinstance(caught.value.__context__, grpc.RpcError)


async def test_the_other_stack_makes_the_same_error(fake: FakeDaemon) -> None:
    fake.on("Whoami", lambda _, context: refuse(context, grpc.StatusCode.NOT_FOUND, "a sentence", "A_REASON"))
    async with AsyncOrchestrator(fake.address) as act, asyncio.timeout(10):
        with pytest.raises(NotFound) as caught:
            await act.whoami()
    assert caught.value.reason == "A_REASON"
