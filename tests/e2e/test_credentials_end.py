"""Whatever lasts ends with the credential that it was begun with, and whoever had it is told why."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc import aio
from hmsact import AsyncOrchestrator, Call, Step, Worker
from hmsact.errors import Unauthenticated
from hmsact.v1 import operation_pb2, operation_pb2_grpc, timeline_pb2, timeline_pb2_grpc, worker_pb2, worker_pb2_grpc

from tests.e2e.agency import Agency, agency

FLOW = [Step("ask", svc="IRS")]
WITHIN_S = 15


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agency]:
    with agency(tmp_path_factory.mktemp("agency")) as office:
        yield office


class Shown:
    """A token of a program, and how it is ended."""

    def __init__(self, office: Agency) -> None:
        made = office.run("token", "create", "irs")
        self.token = made.stdout.strip()
        self._id = next(word for word in made.stderr.split() if word.startswith("tok_"))
        self._office = office

    async def revoke(self) -> None:
        assert (await asyncio.to_thread(self._office.run, "token", "revoke", self._id)).returncode == 0


async def until_known(act: AsyncOrchestrator) -> None:
    async with asyncio.timeout(WITHIN_S):
        while True:
            try:
                await act.whoami()
            except Unauthenticated:
                continue
            return


async def messages(*said: Any) -> AsyncIterator[Any]:
    """What a caller says, who then says nothing more and stays."""
    for message in said:
        yield message
    await asyncio.Event().wait()


def work(channel: aio.Channel, operation: str) -> Any:
    hello = worker_pb2.Hello(svc="IRS", steps=["other"], max_in_flight=1)
    return worker_pb2_grpc.WorkerServiceStub(channel).Work, messages(worker_pb2.WorkRequest(hello=hello))


def start_operations(channel: aio.Channel, operation: str) -> Any:
    batch = operation_pb2.StartOperationsRequest(batch=1)
    return operation_pb2_grpc.OperationServiceStub(channel).StartOperations, messages(batch)


def watch_operation(channel: aio.Channel, operation: str) -> Any:
    request = timeline_pb2.WatchOperationRequest(operation_id=operation)
    return timeline_pb2_grpc.TimelineServiceStub(channel).WatchOperation, request


def watch_events(channel: aio.Channel, operation: str) -> Any:
    request = timeline_pb2.WatchEventsRequest(from_beginning=True)
    return timeline_pb2_grpc.TimelineServiceStub(channel).WatchEvents, request


async def to_its_end(call: Any) -> None:
    async with asyncio.timeout(WITHIN_S):
        while await call.read() is not aio.EOF:
            pass


@pytest.mark.parametrize("stream", [work, start_operations, watch_operation, watch_events])
async def test_a_stream_ends_with_its_token(office: Agency, stream: Callable[[aio.Channel, str], Any]) -> None:
    shown = Shown(office)
    async with (
        aio.secure_channel(office.address, office.trusted()) as channel,
        AsyncOrchestrator(office.address, token=shown.token, tls=office.trusted()) as act,
    ):
        await until_known(act)
        operation = await act.start(name="flow", steps=FLOW)
        method, request = stream(channel, operation.id)
        call = method(request, metadata=(("authorization", f"Bearer {shown.token}"),))
        assert await call.read() is not aio.EOF, "it has begun"
        await shown.revoke()
        with pytest.raises(aio.AioRpcError) as ended:
            await to_its_end(call)
        assert ended.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_who_waits_for_minutes_is_told_nothing_once_the_token_has_ended(office: Agency) -> None:
    shown = Shown(office)
    async with AsyncOrchestrator(office.address, token=shown.token, tls=office.trusted()) as act:
        await until_known(act)
        operation = await act.start(name="flow", steps=FLOW)
        async with asyncio.TaskGroup() as tasks:
            waiting = tasks.create_task(refused(operation.wait("5m")))
            await shown.revoke()
            async with asyncio.timeout(WITHIN_S):
                assert await waiting == "TOKEN_REVOKED"


async def refused(answer: Any) -> str:
    with pytest.raises(Unauthenticated) as refusal:
        await answer
    return refusal.value.reason


async def test_a_worker_says_why_and_does_not_connect_again(office: Agency, caplog: pytest.LogCaptureFixture) -> None:
    shown = Shown(office)
    async with AsyncOrchestrator(office.address, token=shown.token, tls=office.trusted()) as act:
        await until_known(act)
        await act.start(name="flow", steps=FLOW)
    worker = Worker("IRS", address=office.address, token=shown.token, tls=office.trusted())
    begun = asyncio.Event()

    @worker.step("ask")
    async def ask(call: Call) -> None:
        begun.set()

    caplog.set_level("INFO", "hmsact.worker")
    async with asyncio.TaskGroup() as tasks:
        serving = tasks.create_task(refused(worker.serve()))
        await begun.wait()
        await shown.revoke()
        async with asyncio.timeout(WITHIN_S):
            assert await serving == "TOKEN_REVOKED"
    assert caplog.text.count("serving ask") == 1


async def test_a_worker_whose_certificate_expires_says_so_and_ends(office: Agency) -> None:
    tls = office.trusted(office.clients.issue("spiffe://agency.gov/irs", ends=timedelta(seconds=3)))
    worker = Worker("IRS", address=office.mutual, token="", tls=tls)
    worker.step("yet_another")(lambda call: {})
    async with asyncio.timeout(WITHIN_S):
        assert await refused(worker.serve()) == "CERTIFICATE_EXPIRED"


async def test_a_worker_whose_program_is_taken_from_the_settings_is_not_let_in_again(tmp_path: Path) -> None:
    with agency(tmp_path) as office:
        tls = office.trusted(office.clients.issue("spiffe://agency.gov/irs"))
        worker = Worker("IRS", address=office.mutual, token="", tls=tls)
        worker.step("ask")(lambda call: {})
        path = tmp_path / "settings.toml"
        text = path.read_text().replace('"127.0.0.1:0"\nclient_ca', f'"{office.mutual}"\nclient_ca')
        begins, ends = text.index("[identity.workloads.irs]"), text.index("[identity.workloads.portal]")
        async with asyncio.TaskGroup() as tasks:
            serving = tasks.create_task(refused(worker.serve()))
            await asyncio.to_thread(office.stop)
            path.write_text(text[:begins] + text[ends:])
            await asyncio.to_thread(office.start)
            async with asyncio.timeout(30):
                assert await serving == "WORKLOAD_UNKNOWN"
