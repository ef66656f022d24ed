"""Bulk starts over the wire: every start has its own result, in order, as StartOperation would have given it."""

from __future__ import annotations

import json
import queue
from collections.abc import Iterator
from typing import Any, cast

import grpc
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc import error_details_pb2  # type: ignore[import-untyped]
from grpc_status import rpc_status
from hmsact.testing import Daemon
from hmsact.v1 import operation_pb2 as pb

from tests.e2e.raw import Caller, eventually, refused

FLOW = json.dumps({"name": "bulk", "steps": [{"checkpoint": "review", "role": "fsa.officer"}]}).encode()
OTHER = json.dumps({"name": "other", "steps": [{"checkpoint": "review", "role": "fsa.officer"}]}).encode()
NO_ROLE = b'{"name": "bulk", "steps": [{"checkpoint": "review"}]}'


class Stream:
    """One stream of starts, led by a test."""

    def __init__(self, caller: Caller) -> None:
        self._to_send: queue.SimpleQueue[pb.StartOperationsRequest | None] = queue.SimpleQueue()
        self.call: Any = caller.operations.StartOperations(
            iter(self._to_send.get, None), timeout=30, metadata=caller.metadata
        )

    def send(self, *starts: pb.StartOperationRequest, batch: int = 1, **said: Any) -> None:
        self._to_send.put(pb.StartOperationsRequest(batch=batch, starts=starts, **said))

    def end(self) -> None:
        self._to_send.put(None)

    def results(self, count: int) -> list[pb.StartResult]:
        """So many results, each message beginning where the one before has ended."""
        found: dict[int, list[pb.StartResult]] = {}
        while sum(map(len, found.values())) < count:
            response = next(self.call)
            assert response.first == len(found.setdefault(response.batch, []))
            found[response.batch] += response.results
        return [result for results in found.values() for result in results]


@pytest.fixture
def stream(developer: Caller) -> Iterator[Stream]:
    stream = Stream(developer)
    yield stream
    stream.end()
    stream.call.cancel()


def start(given: object = None, **said: Any) -> pb.StartOperationRequest:
    return pb.StartOperationRequest(input=json.dumps(given).encode(), **said)


def reason(result: pb.StartResult) -> str:
    info = error_details_pb2.ErrorInfo()
    assert isinstance(result.refused.details[0], AnyMessage)
    assert result.refused.details[0].Unpack(info)
    return str(info.reason)


def test_a_definition_is_said_once_and_every_start_is_acknowledged_in_order(developer: Caller, stream: Stream) -> None:
    stream.send(*(start(number) for number in range(300)), definition=FLOW)
    stream.send(*(start(number) for number in range(300, 310)), start("own", definition=OTHER), batch=2)
    results = stream.results(311)
    told = [developer.get(result.started.operation_id) for result in (results[0], results[299], results[300])]
    assert [(operation.name, operation.input) for operation in told] == [
        ("bulk", b"0"),
        ("bulk", b"299"),
        ("bulk", b"300"),
    ]
    assert developer.get(results[310].started.operation_id).name == "other"
    recorded = results[0].started.recorded
    assert (recorded.state, recorded.sequence) == (pb.OPERATION_STATE_WAITING, 2)
    assert recorded.receipt.seal
    assert len({result.started.operation_id for result in results}) == 311


def test_a_bad_start_is_refused_as_by_itself_and_does_not_spoil_its_neighbours(
    developer: Caller, stream: Stream
) -> None:
    bad = [
        start(definition=NO_ROLE),
        pb.StartOperationRequest(input=b"{", key="k" * 256, namespace="No Name"),
        start(labels={"a b": "x"}, request_id="r" * 65),
    ]
    stream.send(*(part for one in bad for part in (start(1), one)), start(2), definition=FLOW)
    results = stream.results(7)
    assert [result.WhichOneof("result") for result in results] == ["started", "refused"] * 3 + ["started"]
    for one, result in zip(bad, results[1::2], strict=True):
        one.definition = one.definition or FLOW
        with pytest.raises(grpc.RpcError) as alone:
            developer.call(developer.operations.StartOperation, one)
        assert rpc_status.from_call(cast("Any", alone.value)) == result.refused


def test_without_a_definition_nothing_is_started(stream: Stream) -> None:
    stream.send(start(1))
    (result,) = stream.results(1)
    assert result.refused.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]


def test_a_request_id_is_carried_out_once_within_a_batch_on_another_stream_and_by_itself(
    developer: Caller, stream: Stream
) -> None:
    stream.send(start(1, request_id="once"), start(1, request_id="once"), start(2, request_id="once"), definition=FLOW)
    first, twin, other = stream.results(3)
    assert twin.started.operation_id == first.started.operation_id
    assert sorted(result.started.recorded.repeated_request for result in (first, twin)) == [False, True]
    assert reason(other) == "REQUEST_ID_REUSED"
    again = Stream(developer)
    again.send(start(1, request_id="once"), definition=FLOW)
    assert again.results(1)[0].started.operation_id == first.started.operation_id
    again.end()
    alone = developer.call(developer.operations.StartOperation, start(1, request_id="once", definition=FLOW))
    assert alone.operation_id == first.started.operation_id


def test_a_business_key_has_its_policy_in_a_batch_too(stream: Stream) -> None:
    stream.send(
        start(1, key="bulk-7", request_id="key-1"),
        start(2, key="bulk-7"),
        start(3, key="bulk-7", key_policy=pb.KEY_POLICY_RETURN_OPEN),
        start(4, key="bulk-7", key_policy=pb.KEY_POLICY_ALLOW),
        start(1, key="bulk-7", request_id="key-1"),
        definition=FLOW,
    )
    first, taken, returned, allowed, again = stream.results(5)
    assert reason(taken) == "KEY_IN_USE"
    assert returned.started.operation_id == again.started.operation_id == first.started.operation_id
    assert allowed.started.operation_id != first.started.operation_id


def test_a_thousand_refusals_with_all_their_faults_come_in_several_messages(stream: Stream) -> None:
    labels = {f"bad label {number}": "" for number in range(40)}
    stream.send(*(start(labels=labels) for _ in range(1000)), definition=FLOW)
    results = stream.results(1000)
    assert all(map(reason, results))
    assert sum(result.ByteSize() for result in results) > 2 * 1024 * 1024


def test_a_batch_beyond_the_bound_ends_the_stream_after_the_results_of_those_before(
    developer: Caller, stream: Stream
) -> None:
    stream.send(start(1), definition=FLOW)
    stream.send(*(start(2, key="beyond the bound") for _ in range(1001)), batch=2)
    with refused("INVALID_ARGUMENT") as refusal:
        assert stream.results(1)[0].started.operation_id
        next(stream.call)
    assert refusal.violations == [("starts", "TOO_MANY")]
    listed = pb.ListOperationsRequest(filter='key = "beyond the bound"')
    assert not developer.call(developer.operations.ListOperations, listed).operations


def test_a_message_beyond_the_bound_ends_the_stream(stream: Stream) -> None:
    stream.send(*(start("x" * 200_000) for _ in range(30)), definition=FLOW)
    with refused("RESOURCE_EXHAUSTED"):
        next(stream.call)


def test_a_batch_without_starts_is_answered(stream: Stream) -> None:
    stream.send(batch=7, definition=FLOW)
    response = next(stream.call)
    assert (response.batch, len(response.results)) == (7, 0)
    stream.send(start(1), batch=8)
    assert stream.results(1)[0].started.operation_id


def test_garbage_ends_its_stream_and_nothing_else(daemon: Daemon, stream: Stream) -> None:
    with grpc.insecure_channel(daemon.address) as channel:
        garbage: Any = channel.stream_stream("/hmsact.v1.OperationService/StartOperations")
        with pytest.raises(grpc.RpcError):
            next(garbage(iter([b"\xff\xff\xff\xff"]), timeout=10))
    stream.send(start(1), definition=FLOW)
    assert stream.results(1)[0].started.operation_id


def test_whoever_is_not_known_may_not_start_many(daemon: Daemon) -> None:
    with Caller(daemon.address, "nobody") as nobody, refused("UNAUTHENTICATED"):
        stream = Stream(nobody)
        stream.end()
        next(stream.call)


def test_what_a_client_that_vanishes_has_sent_is_started_once_and_a_repeat_finds_it(developer: Caller) -> None:
    starts = [start(number, request_id=f"vanished-{number}", labels={"who": "vanished"}) for number in range(200)]
    gone = Stream(developer)
    gone.send(*starts, definition=FLOW)
    gone.results(1)
    gone.call.cancel()
    again = Stream(developer)
    again.send(*starts, definition=FLOW)
    assert all(result.HasField("started") for result in again.results(200))
    again.end()
    counted = developer.call(
        developer.operations.CountOperations, pb.CountOperationsRequest(filter='labels.who = "vanished"')
    )
    assert counted.count == 200


def test_who_sends_and_does_not_read_is_read_no_further_and_holds_up_nobody(
    daemon: Daemon, developer: Caller, stream: Stream
) -> None:
    slow = Stream(developer)
    labels = {f"bad label {number}": "x" * 300 for number in range(32)}
    for batch in range(40):
        slow.send(*(start(labels=labels) for _ in range(200)), batch=batch, definition=FLOW)
    stream.send(*(start(number) for number in range(500)), definition=FLOW)
    assert all(result.HasField("started") for result in stream.results(500))
    slow.end()
    # Nothing of it was lost: all is there for whoever begins to read.
    assert len(slow.results(40 * 200)) == 8_000


def test_a_daemon_that_goes_down_ends_the_stream_with_unavailable_after_what_was_begun() -> None:
    with Daemon() as daemon, Caller(daemon.address) as caller:
        stream = Stream(caller)
        stream.send(start(1), definition=FLOW)
        assert stream.results(1)
        assert daemon.stop() == 0
        with refused("UNAVAILABLE", "SHUTTING_DOWN"):
            next(stream.call)


def test_streams_of_starts_count_among_those_of_a_principal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HMSACTD_BOUNDS__STREAMS_PER_PRINCIPAL_MAX", "1")
    with Daemon() as daemon, Caller(daemon.address) as caller:
        stream = Stream(caller)
        stream.send(start(1), definition=FLOW)
        assert stream.results(1)
        with refused("RESOURCE_EXHAUSTED", "STREAMS_MAX"):
            next(Stream(caller).call)
        stream.end()
        eventually(lambda: next(stream.call, "ended") == "ended")


def test_at_the_bound_of_open_operations_the_rest_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HMSACTD_BOUNDS__OPEN_OPERATIONS_PER_NAMESPACE_MAX", "5")
    with Daemon() as daemon, Caller(daemon.address) as caller:
        stream = Stream(caller)
        stream.send(*(start(number) for number in range(8)), definition=FLOW)
        results = stream.results(8)
        assert [result.WhichOneof("result") for result in results] == ["started"] * 5 + ["refused"] * 3
        assert {reason(result) for result in results[5:]} == {"OPEN_OPERATIONS_MAX"}
        stream.end()
