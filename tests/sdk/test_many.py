"""`start_many` against a scripted daemon: lazy, in order, sent again when it must be, and errors where they belong."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc import code_pb2, error_details_pb2, status_pb2  # type: ignore[import-untyped]
from hmsact import (
    AlreadyExists,
    AsyncOrchestrator,
    InvalidArgument,
    Orchestrator,
    Refused,
    ResourceExhausted,
    Start,
    Step,
)
from hmsact.cli import run
from hmsact.many import BATCH_STARTS, BATCHES_AHEAD
from hmsact.v1 import operation_pb2 as pb

from tests.sdk.fake import Context, FakeDaemon, recorded, refuse

FLOW = [Step("check", svc="IRS")]


def started(request: pb.StartOperationRequest) -> pb.StartResult:
    answer = pb.StartOperationResponse(operation_id=f"op_{request.input.decode()}", recorded=recorded())
    return pb.StartResult(started=answer)


def refusal(code: str, reason: str, retry_ms: int | None = None) -> pb.StartResult:
    status = status_pb2.Status(code=code_pb2.Code.Value(code), message="no")
    details: list[Any] = [error_details_pb2.ErrorInfo(reason=reason, domain="hmsact")]
    if retry_ms is not None:
        details.append(error_details_pb2.RetryInfo())
        details[-1].retry_delay.FromMilliseconds(retry_ms)
    for detail in details:
        packed = AnyMessage()
        packed.Pack(detail)
        status.details.append(packed)
    return pb.StartResult(refused=status)


class Starts:
    """The behaviour of StartOperations: answers each batch, and remembers what it was sent."""

    def __init__(self) -> None:
        self.batches: list[pb.StartOperationsRequest] = []
        self.streams = 0

    def __call__(
        self, requests: Iterator[pb.StartOperationsRequest], context: Context
    ) -> Iterator[pb.StartOperationsResponse]:
        self.streams += 1
        for request in requests:
            self.batches.append(request)
            yield from self.answer(request, context)

    def answer(self, request: pb.StartOperationsRequest, context: Context) -> Iterator[pb.StartOperationsResponse]:
        yield pb.StartOperationsResponse(batch=request.batch, results=map(started, request.starts))

    @property
    def sent(self) -> list[int]:
        return [json.loads(start.input) for batch in self.batches for start in batch.starts]


def numbers(count: int) -> Iterator[dict[str, object]]:
    return ({"input": number} for number in range(count))


def test_the_definition_travels_once_and_results_come_in_order(fake: FakeDaemon, act: Orchestrator) -> None:
    starts = Starts()
    fake.on("StartOperations", starts)
    results = list(act.start_many(numbers(600), name="flow", steps=FLOW, labels={"run": "1"}))
    assert [result.operation and result.operation.id for result in results] == [f"op_{n}" for n in range(600)]
    assert {result.operation and result.operation.name for result in results} == {"flow"}
    assert starts.sent == list(range(600))
    said = [batch.definition for batch in starts.batches]
    assert json.loads(said[0]) == {"name": "flow", "steps": [{"step": "check", "svc": "IRS"}]}
    assert not any(said[1:])
    first = starts.batches[0].starts[0]
    assert (first.namespace, first.definition, dict(first.labels)) == ("loans", b"", {"run": "1"})
    assert len({start.request_id for batch in starts.batches for start in batch.starts}) == 600


def test_items_are_taken_only_as_results_come(fake: FakeDaemon, act: Orchestrator) -> None:
    fake.on("StartOperations", Starts())
    taken = 0

    def items() -> Iterator[dict[str, object]]:
        nonlocal taken
        for item in numbers(100_000):
            taken += 1
            yield item

    results = act.start_many(items(), name="flow", steps=FLOW)
    next(results)
    assert taken <= BATCH_STARTS * BATCHES_AHEAD
    results.close()  # type: ignore[attr-defined]


def test_what_an_item_says_stands_before_what_is_said_for_all(fake: FakeDaemon, act: Orchestrator) -> None:
    starts = Starts()
    fake.on("StartOperations", starts)
    items: list[Any] = [
        Start(1, key="k", key_policy="allow", labels={"b": "own"}, reason="mine", request_id="own"),
        {"input": 2, "name": "other"},
        {"steps": [Step("pay", svc="Treasury")]},
    ]
    list(
        act.start_many(
            items, name="flow", steps=FLOW, labels={"a": "1", "b": "all"}, reason="ours", request_id="run", sla="1h"
        )
    )
    first, other, own = starts.batches[0].starts
    assert (first.key, first.key_policy, first.reason, first.request_id) == ("k", pb.KEY_POLICY_ALLOW, "mine", "own")
    assert dict(first.labels) == {"a": "1", "b": "own"}
    assert (other.request_id, other.reason) == ("run-2", "ours")
    assert json.loads(other.definition)["name"] == "other"
    assert json.loads(own.definition) == {
        "name": "flow",
        "steps": [{"step": "pay", "svc": "Treasury"}],
        "sla": "1h",
    }


def test_a_bad_item_is_an_error_in_its_place(fake: FakeDaemon, act: Orchestrator) -> None:
    starts = Starts()
    fake.on("StartOperations", starts)
    bad: list[Any] = [{"inputs": 1}, 7, Start(object()), Start(labels={"a": 1}), Start(steps=[object()])]  # type: ignore[dict-item, list-item]
    items = [{"input": 0}, *bad, {"input": 1}]
    results = list(act.start_many(items, name="flow", steps=FLOW))
    assert [type(result.error) for result in results] == [type(None), *[InvalidArgument] * 5, type(None)]
    assert starts.sent == [0, 1]


def test_what_is_wrong_for_all_is_raised_at_once(act: Orchestrator) -> None:
    with pytest.raises(InvalidArgument):
        act.start_many([], name="flow", steps=7)  # type: ignore[arg-type]


def test_a_start_without_any_flow_is_an_error(fake: FakeDaemon, act: Orchestrator) -> None:
    fake.on("StartOperations", Starts())
    (result,) = act.start_many([{"input": 1}])
    assert result.error is not None
    assert result.error.violations[0].field == "steps"


def test_what_has_no_result_when_the_stream_breaks_is_sent_again_under_the_same_ids(
    fake: FakeDaemon, act: Orchestrator
) -> None:
    class Breaking(Starts):
        def answer(self, request: pb.StartOperationsRequest, context: Context) -> Iterator[pb.StartOperationsResponse]:
            if len(self.batches) == 2:
                yield pb.StartOperationsResponse(batch=request.batch, results=map(started, request.starts[:10]))
                refuse(context, grpc.StatusCode.UNAVAILABLE, "going down", "SHUTTING_DOWN")
            yield from super().answer(request, context)

    starts = Breaking()
    fake.on("StartOperations", starts)
    results = list(act.start_many(numbers(600), name="flow", steps=FLOW))
    assert [result.operation and result.operation.id for result in results] == [f"op_{n}" for n in range(600)]
    assert starts.streams == 2
    again = [start for batch in starts.batches[2:] for start in batch.starts]
    assert json.loads(again[0].input) == 260
    ids = {start.input: start.request_id for batch in starts.batches[:2] for start in batch.starts}
    assert all(ids.get(start.input, start.request_id) == start.request_id for start in again)
    assert starts.batches[2].definition, "a new stream is told the definition anew"


def test_a_stream_that_ends_too_soon_is_opened_again(fake: FakeDaemon, act: Orchestrator) -> None:
    class Ending(Starts):
        def __call__(
            self, requests: Iterator[pb.StartOperationsRequest], context: Context
        ) -> Iterator[pb.StartOperationsResponse]:
            if not self.streams:
                self.streams = 1
                return
            yield from super().__call__(requests, context)

    fake.on("StartOperations", Ending())
    results = list(act.start_many(numbers(3), name="flow", steps=FLOW))
    assert [result.error for result in results] == [None] * 3


@pytest.mark.parametrize("code", ["UNAVAILABLE", "RESOURCE_EXHAUSTED"])
def test_a_start_that_is_refused_for_a_while_is_sent_again_when_the_daemon_says(
    fake: FakeDaemon, act: Orchestrator, code: str
) -> None:
    class Full(Starts):
        def answer(self, request: pb.StartOperationsRequest, context: Context) -> Iterator[pb.StartOperationsResponse]:
            if len(self.batches) == 1:
                full = refusal(code, "MEMORY_NEARLY_FULL", 10)
                results = [full if number == 1 else started(start) for number, start in enumerate(request.starts)]
                yield pb.StartOperationsResponse(batch=request.batch, results=results)
            else:
                yield from super().answer(request, context)

    starts = Full()
    fake.on("StartOperations", starts)
    results = list(act.start_many(numbers(3), name="flow", steps=FLOW))
    assert [result.operation and result.operation.id for result in results] == ["op_0", "op_1", "op_2"]
    assert starts.sent == [0, 1, 2, 1]
    assert starts.batches[1].starts[0].request_id == starts.batches[0].starts[1].request_id


def test_a_refusal_that_does_not_pass_is_the_result_of_its_item(fake: FakeDaemon, act: Orchestrator) -> None:
    class Refusing(Starts):
        def answer(self, request: pb.StartOperationsRequest, context: Context) -> Iterator[pb.StartOperationsResponse]:
            results = [
                refusal("ALREADY_EXISTS", "KEY_IN_USE"),
                started(request.starts[1]),
                refusal("RESOURCE_EXHAUSTED", "OPEN_OPERATIONS_MAX"),
            ]
            yield pb.StartOperationsResponse(batch=request.batch, results=results[:1])
            yield pb.StartOperationsResponse(batch=request.batch, first=1, results=results[1:])

    fake.on("StartOperations", Refusing())
    taken, one, full = act.start_many(numbers(3), name="flow", steps=FLOW)
    assert isinstance(taken.error, AlreadyExists)
    assert taken.error.reason == "KEY_IN_USE"
    assert one.operation is not None
    assert isinstance(full.error, ResourceExhausted)


def test_a_stream_that_is_refused_raises(fake: FakeDaemon, act: Orchestrator) -> None:
    def no(requests: Any, context: Context) -> Iterator[pb.StartOperationsResponse]:
        refuse(context, grpc.StatusCode.PERMISSION_DENIED, "no", "PERMISSION_MISSING")

    fake.on("StartOperations", no)
    with pytest.raises(Refused):
        list(act.start_many(numbers(3), name="flow", steps=FLOW))


def test_an_item_for_which_no_message_is_large_enough_is_refused_alone(fake: FakeDaemon, act: Orchestrator) -> None:
    class Small(Starts):
        def answer(self, request: pb.StartOperationsRequest, context: Context) -> Iterator[pb.StartOperationsResponse]:
            if request.ByteSize() > 600_000:
                context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "Received message larger than max")
            yield pb.StartOperationsResponse(
                batch=request.batch, results=[refusal("ALREADY_EXISTS", "X")] * len(request.starts)
            )

    fake.on("StartOperations", Small())
    items = [{"input": "a"}, {"input": "x" * 700_000}, {"input": "b"}]
    results = list(act.start_many(items, name="flow", steps=FLOW))
    assert [type(result.error) for result in results] == [AlreadyExists, ResourceExhausted, AlreadyExists]


def test_what_the_items_raise_is_raised_after_the_results_of_all_before(fake: FakeDaemon, act: Orchestrator) -> None:
    fake.on("StartOperations", Starts())

    def items() -> Iterator[dict[str, object]]:
        yield from numbers(2)
        raise LookupError("the file is broken")

    results = act.start_many(items(), name="flow", steps=FLOW)
    assert [next(results).index, next(results).index] == [0, 1]
    with pytest.raises(LookupError, match="the file is broken"):
        next(results)


async def test_from_coroutines_items_may_come_asynchronously_and_slowly(fake: FakeDaemon) -> None:
    starts = Starts()
    fake.on("StartOperations", starts)
    may_go_on = asyncio.Event()

    async def items() -> AsyncIterator[dict[str, object]]:
        yield {"input": 0}
        await asyncio.sleep(0.1)
        yield {"input": 1}
        await may_go_on.wait()
        yield {"input": 2}

    async with AsyncOrchestrator(fake.address) as act:
        found = []
        async for result in act.start_many(items(), name="flow", steps=FLOW):
            found.append(result.operation and result.operation.id)
            if len(found) == 2:
                # The third was not waited for.
                may_go_on.set()
        assert found == ["op_0", "op_1", "op_2"]
        several = [result.index async for result in act.start_many(numbers(600), name="flow", steps=FLOW)]
        assert several == list(range(600))


# -- the command -------------------------------------------------------------------------------------------------------


def command(fake: FakeDaemon, tmp_path: Path, lines: bytes, *options: str) -> int:
    flow, cases = tmp_path / "flow.json", tmp_path / "cases.jsonl"
    flow.write_text('{"name": "flow", "steps": [{"step": "check", "svc": "IRS"}]}')
    cases.write_bytes(lines)
    return run(["start-many", str(flow), "--starts", str(cases), "--address", fake.address, *options])


def test_a_line_with_a_faulty_flow_of_its_own_does_not_stop_the_others(
    fake: FakeDaemon, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.on("StartOperations", Starts())
    lines = b'{"input": 1}\n{"steps": []}\n5\n\xff\n\xef\xbb\xbf{"input": 2}\n{"labels": {"a": 1}}\n{"input": 3}\n'
    assert command(fake, tmp_path, lines) == 1
    said = capsys.readouterr()
    assert said.out.split() == ["op_1", "op_2", "op_3"]
    assert [line.split(": ")[1] for line in said.err.splitlines()[:-1]] == ["line 2", "line 3", "line 4", "line 6"]
    assert "line 4: it is not text in UTF-8" in said.err
    assert "line 6: this is no start: labels: are names and texts" in said.err
    assert said.err.endswith("3 started, 4 refused\n")


def test_an_empty_request_id_is_wrong_since_the_run_would_not_be_safe_to_repeat(
    fake: FakeDaemon, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(fake, tmp_path, b"{}\n", "--request-id", "") == 2
    assert "--request-id is empty" in capsys.readouterr().err


def test_output_that_is_closed_in_the_middle_is_no_success(fake: FakeDaemon, tmp_path: Path) -> None:
    fake.on("StartOperations", Starts())
    flow, cases = tmp_path / "flow.json", tmp_path / "cases.jsonl"
    flow.write_text('{"name": "flow", "steps": [{"step": "check", "svc": "IRS"}]}')
    cases.write_text("".join(f"{number}\n" for number in range(20_000)))
    command = [sys.executable, "-c", "from hmsact.cli import main; main()", "start-many", str(flow)]
    command += ["--inputs", str(cases), "--address", fake.address]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "op_0\n"
        process.stdout.close()
        assert process.stderr is not None
        err = process.stderr.read()
    assert process.returncode == 1
    assert "the output was closed" in err
    assert "Exception ignored" not in err


@pytest.mark.parametrize("field", ["key", "request_id"])
def test_an_item_with_an_empty_key_or_request_id_is_no_item_without_one(
    fake: FakeDaemon, act: Orchestrator, field: str
) -> None:
    fake.on("StartOperations", Starts())
    first, second = act.start_many([{"input": 1, field: ""}, {"input": 2}], name="flow", steps=FLOW)
    assert isinstance(first.error, InvalidArgument)
    assert f"the {field} is empty" in str(first.error)
    assert second.operation is not None


def test_an_empty_request_id_for_all_is_refused(act: Orchestrator) -> None:
    with pytest.raises(InvalidArgument, match="the request_id is empty"):
        list(act.start_many([{}], name="flow", steps=FLOW, request_id=""))
