"""A real daemon calls real services: over gRPC and HTTPS, through outages, restarts and crashes."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from hmsact import Call, Step
from hmsact.testing import Daemon, DaemonNotStarted
from hmsact.v1 import step_pb2, worker_pb2, worker_pb2_grpc
from hmsact.verify import Trust, verify
from standardwebhooks import Webhook

from tests.e2e.scrape import fetch, scrape
from tests.services.agency import Asked, agency, answers, hangs
from tests.services.certificates import Authority
from tests.services.grpc_agency import Context, done, grpc_agency

SECRET = "whsec_" + base64.b64encode(b"k" * 32).decode()
WITHIN_S = 20


def daemon_with(tmp_path: Path, settings: str, data: Path | None = None) -> Daemon:
    file = tmp_path / "hmsactd.toml"
    file.write_text(settings)
    return Daemon(data, test_clock=False, arguments=["--config", str(file)])


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(WITHIN_S):
        while not await asyncio.to_thread(holds):  # noqa: ASYNC110 -- a process is asked, which tells no event
            await asyncio.sleep(0.02)


async def test_one_flow_is_done_over_grpc_over_https_and_by_a_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TREASURY_SECRET", SECRET)
    authority = Authority(tmp_path)
    theirs, ours = authority.issue("agency"), authority.issue("hmsactd")
    pairs = [(theirs.key.read_bytes(), theirs.certificate.read_bytes())]
    shown = grpc.ssl_server_credentials(pairs, authority.file.read_bytes(), require_client_auth=True)
    tls = authority.server(theirs, asks_for_clients=True)
    async with grpc_agency(shown) as irs, agency(tls) as treasury:
        irs.behaviour = done(b'{"eligible": true}')
        treasury.behaviour = answers(200, b'{"balance": 0}')
        files = f'ca_file = "{authority.file}"\ncertificate_file = "{ours.certificate}"\nkey_file = "{ours.key}"\n'
        settings = (
            f'[services.IRS]\naddress = "grpcs://127.0.0.1:{irs.port}"\n{files}'
            f'[services.Treasury]\naddress = "https://127.0.0.1:{treasury.port}/steps"\n{files}'
            f'secret_variable = "TREASURY_SECRET"\n'
        )
        told: list[object] = []

        async def notify(call: Call) -> str:
            told.append(call.outputs)
            return "sent"

        with daemon_with(tmp_path, settings) as daemon:
            email = daemon.worker("Email")
            email.step("notify_applicant")(notify)
            async with email, daemon.async_orchestrator() as act:
                operation = await act.start(
                    name="loan_forgiveness",
                    steps=[
                        Step("eligibility_check", svc="IRS"),
                        Step("update_balance", svc="Treasury"),
                        Step("notify_applicant", svc="Email"),
                    ],
                    input={"loan": "FSA-1"},
                )
                ended = await act.wait(operation, "20s")
                assert (ended.state, ended.output) == ("completed", "sent")
                export, key = await act.export(operation), (await act.info()).verifier_key
            metrics = await asyncio.to_thread(scrape, daemon)
        (asked,) = treasury.asked
    assert told == [{"eligibility_check": {"eligible": True}, "update_balance": {"balance": 0}}]
    assert Webhook(SECRET).verify(asked.body, asked.headers)["outputs"] == {"eligibility_check": {"eligible": True}}
    found = verify(export, key=key)
    assert (found.operation, found.trust) == (operation.id, Trust.GIVEN)
    records = [json.loads(each["record"]) for each in json.loads(export)["records"]]
    by = [
        (each["principal"]["issuer"], each["principal"]["subject"]) for each in records if each["kind"] == "step_done"
    ]
    assert by == [("called", "svc/IRS"), ("called", "svc/Treasury"), ("dev", "svc/Email")]
    for svc in ("IRS", "Treasury"):
        assert metrics[f"hmsact_called_service_state{{svc={svc}}}"] == 0
        assert metrics[f"hmsact_called_seconds_count{{outcome=done,svc={svc}}}"] == 1
        assert metrics[f"hmsact_called_seconds_count{{outcome=unreachable,svc={svc}}}"] == 0


async def test_a_service_answers_202_and_completes_the_step_with_the_token_of_its_request_after_a_crash(
    tmp_path: Path,
) -> None:
    async with agency() as treasury:
        treasury.behaviour = answers(202)
        settings = f'[services.Treasury]\naddress = "http://127.0.0.1:{treasury.port}/steps"\n'
        with daemon_with(tmp_path, settings) as daemon:
            async with daemon.async_orchestrator() as act, daemon.async_orchestrator("dev:svc/Treasury") as batch:
                operation = await act.start(name="flow", steps=[Step("update_balance", svc="Treasury")])
                async for event in act.events(operation, all=True):
                    if event.kind == "step_deferred":
                        break
                await asyncio.to_thread(daemon.kill)
                await asyncio.to_thread(daemon.start)
                token = treasury.asked[0].said["completion_token"]
                assert (await batch.complete_step(token, {"balance": 0})).state == "completed"
                assert (await operation.refresh()).output == {"balance": 0}
    assert len(treasury.asked) == 1


async def test_a_daemon_killed_during_a_call_makes_it_again_with_the_same_key(tmp_path: Path) -> None:
    async with agency() as treasury, grpc_agency() as irs:
        begun = asyncio.Event()

        async def hang(_: step_pb2.ExecuteRequest, __: Context) -> step_pb2.ExecuteResponse:
            begun.set()
            await asyncio.Event().wait()
            raise AssertionError

        treasury.behaviour, irs.behaviour = hangs, hang
        settings = (
            f'[services.Treasury]\naddress = "http://127.0.0.1:{treasury.port}/"\n'
            f'[services.IRS]\naddress = "grpc://127.0.0.1:{irs.port}"\n'
        )
        with daemon_with(tmp_path, settings, tmp_path / "data") as daemon:
            async with daemon.async_orchestrator() as act:
                paid = await act.start(name="flow", steps=[Step("pay", svc="Treasury")])
                asked = await act.start(name="flow", steps=[Step("ask", svc="IRS")])
                await begun.wait()
                await until(lambda: bool(treasury.asked))
            await asyncio.to_thread(daemon.kill)
            treasury.behaviour, irs.behaviour = answers(200, b"1"), done(b"1")
            await asyncio.to_thread(daemon.start)
            async with daemon.async_orchestrator() as act:
                for operation in (paid, asked):
                    assert (await act.wait(operation, "20s")).state == "completed"
                    kinds = [event.kind async for event in act.events(operation, all=True)]
                    assert kinds == [
                        *("operation_started", "step_started", "step_lost", "step_started", "step_done"),
                        "operation_completed",
                    ]
        assert [each.said["attempt"] for each in treasury.asked] == [1, 2]
        assert len({each.headers["idempotency-key"] for each in treasury.asked}) == 1
        assert [(each.attempt, each.idempotency_key) for each in irs.asked] == [
            (1, f"{asked.id}/1"),
            (2, f"{asked.id}/1"),
        ]


async def test_a_daemon_that_stops_lets_a_call_under_way_end_and_records_it(tmp_path: Path) -> None:
    async with agency() as treasury:
        release = asyncio.Event()

        async def behave(asked: Asked, writer: asyncio.StreamWriter) -> None:
            await release.wait()
            await answers(200, b"1")(asked, writer)

        treasury.behaviour = behave
        settings = f'[services.Treasury]\naddress = "http://127.0.0.1:{treasury.port}/"\n'
        with daemon_with(tmp_path, settings, tmp_path / "data") as daemon:
            async with daemon.async_orchestrator() as act:
                operation = await act.start(name="flow", steps=[Step("pay", svc="Treasury")])
            await until(lambda: bool(treasury.asked))
            stopping = asyncio.create_task(asyncio.to_thread(daemon.stop))  # noqa: TID251 -- awaited below
            await until(lambda: fetch_is_refused(daemon))
            release.set()
            assert await stopping == 0
            await asyncio.to_thread(daemon.start)
            async with daemon.async_orchestrator() as act:
                assert (await act.wait(operation, "20s")).state == "completed"
        assert len(treasury.asked) == 1


def fetch_is_refused(daemon: Daemon) -> bool:
    """True once it is not ready any more: it is stopping."""
    try:
        return fetch(daemon, "/readyz")[0] != 200
    except OSError:
        return True


async def test_a_worker_for_a_service_that_is_called_is_told_so(tmp_path: Path) -> None:
    settings = (
        '[services.Treasury]\naddress = "http://127.0.0.1:1/"\n'
        '[services.IRS]\naddress = "http://127.0.0.1:1/"\nsteps = ["ask"]\n'
    )
    with daemon_with(tmp_path, settings) as daemon:
        assert await refusal(daemon, "Treasury", "pay") == (
            "FAILED_PRECONDITION",
            "Treasury is called by the daemon for every step (services.Treasury): no worker may do the same",
        )
        assert (await refusal(daemon, "IRS", "check", "ask"))[0] == "FAILED_PRECONDITION"
        assert await refusal(daemon, "IRS", "check") == ("OK", "")


async def refusal(daemon: Daemon, svc: str, *steps: str) -> tuple[str, str]:
    async with grpc.aio.insecure_channel(daemon.address) as channel:
        stream = worker_pb2_grpc.WorkerServiceStub(channel).Work(metadata=(("authorization", f"Bearer dev:svc/{svc}"),))
        hello = worker_pb2.Hello(svc=svc, steps=steps, max_in_flight=1)
        try:
            await stream.write(worker_pb2.WorkRequest(hello=hello))
            response: Any = await stream.read()
        except grpc.aio.AioRpcError as error:
            return error.code().name, error.details() or ""
        assert response.HasField("welcome")
        stream.cancel()
        return "OK", ""


async def test_a_daemon_that_lacks_files_or_secrets_says_all_of_it_and_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHORT", "whsec_" + base64.b64encode(b"hunter2").decode())
    (tmp_path / "broken.pem").write_text("not a certificate")
    settings = (
        '[services.Treasury]\naddress = "https://treasury.gov/"\nca_file = "/nowhere/ca.pem"\n'
        'secret_variable = "SHORT"\n'
        f'[services.IRS]\naddress = "grpcs://irs.gov:443"\nca_file = "{tmp_path}/broken.pem"\n'
        '[services.FSA]\naddress = "https://fsa.gov/"\nsecret_variable = "NOT_SET"\n'
    )
    with pytest.raises(DaemonNotStarted) as refused, daemon_with(tmp_path, settings):
        pass
    told = str(refused.value)
    for place in (
        "services.Treasury.ca_file: /nowhere/ca.pem can't be used: No such file or directory",
        "services.Treasury.secret_variable: SHORT does not hold a secret",
        f"services.IRS.ca_file: {tmp_path}/broken.pem can't be used",
        "services.FSA.secret_variable: NOT_SET holds 0 secrets, not one or two",
    ):
        assert place in told
    assert "hunter2" not in told
    assert base64.b64encode(b"hunter2").decode() not in told
