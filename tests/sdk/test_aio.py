"""The two clients are twins, and the asynchronous one works on its loop."""

import asyncio
import inspect
from collections.abc import AsyncIterator

import pytest
from hmsact import AsyncEventStream, AsyncOperation, AsyncOrchestrator, Orchestrator, Step
from hmsact.v1 import checkpoint_pb2, operation_pb2, system_pb2, timeline_pb2

from tests.sdk.fake import OPERATION, FakeDaemon, operation, recorded


def methods(client: type) -> dict[str, inspect.Signature]:
    return {
        name: inspect.signature(method)
        for name, method in inspect.getmembers(client, inspect.isfunction)
        if not name.startswith("_")
    }


def test_both_clients_have_the_same_methods_with_the_same_parameters() -> None:
    blocking, asynchronous = methods(Orchestrator), methods(AsyncOrchestrator)
    assert blocking.keys() == asynchronous.keys()
    for name, signature in blocking.items():
        mine, theirs = signature.parameters, asynchronous[name].parameters
        # What one iterates over, the other may await as well.
        assert list(mine) == list(theirs), name
        assert all(mine[each] == theirs[each] for each in mine if (name, each) != ("start_many", "items")), name
    assert inspect.signature(Orchestrator) == inspect.signature(AsyncOrchestrator)


def test_what_waits_is_a_coroutine_and_what_streams_is_an_asynchronous_iterator() -> None:
    for name, method in inspect.getmembers(AsyncOrchestrator, inspect.isfunction):
        # A stream is an object of its own, which can be asked where it stands; who acts is said, and nobody asked.
        if not name.startswith("_") and name not in ("start_many", "stream", "on_behalf_of"):
            assert inspect.iscoroutinefunction(method) != inspect.isasyncgenfunction(method), name
    assert issubclass(AsyncEventStream, AsyncIterator)
    assert inspect.isasyncgenfunction(AsyncOrchestrator.events)
    assert inspect.isasyncgenfunction(AsyncOrchestrator.operations)


async def test_it_starts_waits_and_decides(fake: FakeDaemon) -> None:
    done = operation(state=operation_pb2.OPERATION_STATE_COMPLETED, output=b"[1]")
    summary = operation_pb2.Operation(id=done.id, name=done.name, state=done.state, start_time=done.start_time)
    fake.on("StartOperation", operation_pb2.StartOperationResponse(operation_id=OPERATION, recorded=recorded()))
    fake.on("WaitOperation", operation_pb2.WaitOperationResponse(operation=summary))
    fake.on("GetOperation", operation_pb2.GetOperationResponse(operation=done))
    fake.on("ApproveCheckpoint", checkpoint_pb2.ApproveCheckpointResponse(recorded=recorded()))
    fake.on("ExportOperation", lambda *_: iter([timeline_pb2.ExportOperationResponse(part=b"file")]))
    async with AsyncOrchestrator(fake.address, token="t") as act:
        started = await act.start(name="a", steps=[Step("s", svc="S")])
        assert isinstance(started, AsyncOperation)
        with pytest.raises(LookupError, match="refresh"):
            _ = started.output
        assert (await started.wait("1m")).output == [1]
        assert (await act.approve(started, "human_review")).sequence == 7
        assert await act.export(started) == b"file"
    assert all(heard.metadata["authorization"] == "Bearer t" for heard in fake.heard)


async def test_operations_are_fetched_page_by_page(fake: FakeDaemon) -> None:
    fake.on(
        "ListOperations",
        lambda request, _: operation_pb2.ListOperationsResponse(
            operations=[operation(id=f"op_{request.page_token}")], next_page_token="" if request.page_token else "2"
        ),
    )
    async with AsyncOrchestrator(fake.address) as act:
        assert [found.id async for found in act.operations()] == ["op_", "op_2"]


async def test_a_call_that_is_cancelled_lets_go(fake: FakeDaemon) -> None:
    fake.on("WaitOperation", lambda _, context: context.abort)
    async with AsyncOrchestrator(fake.address) as act:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await act.wait(OPERATION)


def test_a_client_can_be_made_outside_a_loop(fake: FakeDaemon) -> None:
    act = AsyncOrchestrator(fake.address)
    fake.on("GetOperation", operation_pb2.GetOperationResponse(operation=operation()))

    async def use() -> str:
        async with act:
            return (await act.get("01jnz")).id

    assert asyncio.run(use()) == OPERATION


async def test_many_people_are_acted_for_at_once_over_one_connection(fake: FakeDaemon) -> None:
    fake.on("Whoami", system_pb2.WhoamiResponse())
    async with AsyncOrchestrator(fake.address, token="t") as act:
        people = [act.on_behalf_of(f"p{number}") for number in range(20)]
        async with asyncio.TaskGroup() as tasks:
            for person in people:
                tasks.create_task(person.whoami())
        async with people[0]:
            pass
        await act.whoami()
        await people[1].whoami()
        assert len({id(each._stubs.channel) for each in (act, *people)}) == 1
    said = [heard.metadata.get("hmsact-on-behalf-of") for heard in fake.heard]
    assert sorted(str(each) for each in said) == sorted(["None", "p1", *(f"p{number}" for number in range(20))])
