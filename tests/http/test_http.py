"""Health and metrics over HTTP, and uvicorn as a guest."""

import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import httpx2
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from hmsactd.clock import SystemClock
from hmsactd.errors import StartRefused
from hmsactd.http.app import build
from hmsactd.http.readiness import Readiness
from hmsactd.http.server import HttpServer, address_of, bind
from hmsactd.metrics.metrics import Metrics
from hmsactd.settings.values import Address, Span

ANYWHERE = Address("127.0.0.1", 0)


@asynccontextmanager
async def serving(app: Starlette) -> AsyncIterator[tuple[HttpServer, httpx2.AsyncClient]]:
    bound = bind(ANYWHERE)
    server = HttpServer(app, Span(5_000))
    base_url = f"http://{address_of(bound)}"
    async with anyio.create_task_group() as tasks, httpx2.AsyncClient(base_url=base_url) as client:
        tasks.start_soon(server.serve, bound)
        yield server, client
        server.stop()


@asynccontextmanager
async def asking(readiness: Readiness) -> AsyncIterator[httpx2.AsyncClient]:
    transport = httpx2.ASGITransport(build(Metrics(SystemClock()), readiness), raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://tower") as client:
        yield client


# -- what is answered --------------------------------------------------------------------------------------------------


async def test_not_ready_until_recovery_is_done_and_not_while_stopping() -> None:
    readiness = Readiness()
    async with asking(readiness) as client:
        answer = await client.get("/readyz")
        assert (answer.status_code, answer.json()) == (503, {"ready": False, "reason": "starting"})
        readiness.ready()
        answer = await client.get("/readyz")
        assert (answer.status_code, answer.json()) == (200, {"ready": True})
        readiness.unready("stopping")
        answer = await client.get("/readyz")
        assert (answer.status_code, answer.json()) == (503, {"ready": False, "reason": "stopping"})
        assert (await client.get("/healthz")).status_code == 200


async def test_metrics_are_read_as_prometheus_reads_them() -> None:
    async with asking(Readiness()) as client:
        answer = await client.get("/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert answer.headers["cache-control"] == "no-store"
    assert "\nhmsact_ready 0.0\n" in answer.text


async def test_what_is_not_there_is_refused_in_json() -> None:
    async with asking(Readiness()) as client:
        answer = await client.get("/nothing")
        assert (answer.status_code, answer.json()) == (404, {"error": "Not Found", "path": "/nothing"})
        answer = await client.post("/metrics")
        assert (answer.status_code, answer.json()["error"]) == (405, "Method Not Allowed")
        assert "GET" in answer.headers["allow"]


async def test_fault_of_ours_tells_the_caller_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(_metrics: Metrics) -> bytes:
        raise RuntimeError("the secret is hunter2")

    monkeypatch.setattr(Metrics, "exposition", broken)
    async with asking(Readiness()) as client:
        answer = await client.get("/metrics")
    assert (answer.status_code, answer.json()) == (500, {"error": "Internal Server Error"})


# -- the server --------------------------------------------------------------------------------------------------------


async def test_guest_serves_and_leaves_the_signals_alone() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    async with serving(build(Metrics(SystemClock()), Readiness())) as (server, client):
        assert (await client.get("/healthz")).json() == {"alive": True}
        assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before
    await server.ended()


async def test_request_under_way_is_answered_before_the_end() -> None:
    arrived, go_on = anyio.Event(), anyio.Event()

    async def slow(_request: Request) -> PlainTextResponse:
        arrived.set()
        await go_on.wait()
        return PlainTextResponse("done")

    answers: list[str] = []
    async with serving(Starlette(routes=[Route("/slow", slow)])) as (server, client):

        async def ask() -> None:
            answers.append((await client.get("/slow")).text)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask)
            await arrived.wait()
            server.stop()
            go_on.set()
        await server.ended()
    assert answers == ["done"]


async def test_port_in_use_is_refused_with_its_address() -> None:
    with bind(ANYWHERE) as taken:
        address = address_of(taken)
        with pytest.raises(StartRefused, match=f"HTTP can't listen on {address}: Address already in use"):
            bind(address)


def test_address_of_another_machine_is_refused() -> None:
    with pytest.raises(StartRefused, match=r"HTTP can't listen on 192\.0\.2\.1:0: "):
        bind(Address("192.0.2.1", 0))
    with pytest.raises(StartRefused, match="HTTP can't listen on no such host:0: "):
        bind(Address("no such host", 0))
