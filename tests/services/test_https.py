"""Calls over HTTP and HTTPS, to real servers that behave and to ones that don't."""

from __future__ import annotations

import asyncio
import base64
import datetime
import gzip
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from hmsactd.clock import SystemClock
from hmsactd.services.credentials import credentials_of
from hmsactd.services.https import HttpsCaller
from hmsactd.services.outcome import Deferred, Done, Failed, Outcome
from hmsactd.settings.called import Called
from tests.engine.world import until
from tests.services.agency import Agency, agency, answers, drips, floods, hangs, says
from tests.services.calls import OPERATION, call, soon
from tests.services.certificates import Authority

MOST = 4096
SECRET, OTHER = ("whsec_" + base64.b64encode(bytes([fill]) * 32).decode() for fill in (1, 2))


@asynccontextmanager
async def caller(address: str, **said: object) -> AsyncIterator[HttpsCaller]:
    called = Called.model_validate({"address": address} | said)
    faults: list[str] = []
    found = credentials_of(called, faults)
    assert faults == []
    made = HttpsCaller("Treasury", called, found.tls, found.secrets, SystemClock(), MOST, "hmsactd/test")
    try:
        yield made
    finally:
        await made.close()


async def outcome(treasury: Agency, **said: object) -> Outcome:
    async with caller(f"http://127.0.0.1:{treasury.port}/steps?of=us", **said) as made:
        return await made.call(call(), soon())


@pytest.fixture
async def treasury() -> AsyncIterator[Agency]:
    async with agency() as found:
        yield found


# -- the request -------------------------------------------------------------------------------------------------------


async def test_the_request_says_everything_that_a_worker_is_told(treasury: Agency) -> None:
    assert await outcome(treasury) == Done(b"{}")
    (asked,) = treasury.asked
    assert asked.line == "POST /steps?of=us HTTP/1.1"
    assert asked.headers["idempotency-key"] == f'"{OPERATION}/3"'
    assert asked.headers["content-type"] == "application/json"
    assert asked.headers["host"] == f"127.0.0.1:{treasury.port}"
    assert not any(name.startswith("webhook") for name in asked.headers)
    assert {"authorization", "cookie"}.isdisjoint(asked.headers)
    said = asked.said
    deadline = datetime.datetime.fromisoformat(said.pop("deadline"))
    assert datetime.timedelta(0) < deadline - datetime.datetime.now(datetime.UTC) <= datetime.timedelta(seconds=20)
    assert said == {
        "namespace": "default",
        "operation": OPERATION,
        "definition": "loan_forgiveness",
        "svc": "Treasury",
        "step": "update_balance",
        "instance": 3,
        "attempt": 1,
        "idempotency_key": f"{OPERATION}/3",
        "completion_token": "done_abc",
        "input": {"loan": "FSA-1", "name": "Zoë"},
        "outputs": {"eligibility_check": {"eligible": True}, "notify": None},
        "skipped": ["notify"],
        "left_out": ["scan"],
    }


async def test_a_signed_request_verifies_by_the_standard(treasury: Agency, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text(f"{SECRET}\n{OTHER}\n")
    await outcome(treasury, secret_file=str(file))
    (asked,) = treasury.asked
    for secret in (SECRET, OTHER):
        assert Webhook(secret).verify(asked.body, asked.headers)["operation"] == OPERATION
    stranger = Webhook("whsec_" + base64.b64encode(bytes(32)).decode())
    with pytest.raises(WebhookVerificationError):
        stranger.verify(asked.body, asked.headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(SECRET).verify(asked.body.replace(b"FSA-1", b"FSA-2"), asked.headers)
    assert asked.headers["webhook-id"] == f"{OPERATION}/3"
    assert SECRET not in str(asked)


async def test_a_secret_may_come_from_the_environment(treasury: Agency, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TREASURY_SECRET", SECRET)
    await outcome(treasury, secret_variable="TREASURY_SECRET")
    (asked,) = treasury.asked
    Webhook(SECRET).verify(asked.body, asked.headers)


async def test_connections_are_used_again_and_cookies_are_not_kept(treasury: Agency) -> None:
    treasury.behaviour = answers(200, b"1", Set_Cookie="session=1; Path=/")
    async with caller(f"http://127.0.0.1:{treasury.port}/") as made:
        for attempt in range(3):
            assert await made.call(call(attempt), soon()) == Done(b"1")
    assert treasury.connections == 1
    assert all("cookie" not in asked.headers for asked in treasury.asked)


# -- answers -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("behaviour", "expected"),
    [
        (answers(200, b'{"paid": 7}'), Done(b'{"paid": 7}')),
        (answers(200, b"[1]", "application/vnd.gov.treasury+json; charset=utf-8"), Done(b"[1]")),
        (answers(200, b"true", ""), Done(b"true")),
        (answers(201, b'"ref"'), Done(b'"ref"')),
        (answers(200), Done(b"null")),
        (says(b"HTTP/1.1 204 No Content\r\n\r\n"), Done(b"null")),
        (says(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n7"), Done(b"7")),
        (answers(202), Deferred(None)),
        (answers(202, b'{"until": "2026-01-05T09:00:00Z"}'), Deferred(1_767_603_600_000_000)),
        (answers(202, b"never mind"), Deferred(None)),
    ],
    ids=[
        "object",
        "other json",
        "no type",
        "created",
        "empty",
        "no content",
        "continue",
        "deferred",
        "until",
        "deferred in words",
    ],
)
async def test_what_counts_as_done_or_deferred(treasury: Agency, behaviour: object, expected: Outcome) -> None:
    treasury.behaviour = behaviour  # type: ignore[assignment]
    assert await outcome(treasury) == expected


@pytest.mark.parametrize("status", [302, 400, 404, 409, 410, 422, 451, 501, 505])
async def test_statuses_that_fail_for_good(treasury: Agency, status: int) -> None:
    treasury.behaviour = answers(status)
    failed = await outcome(treasury)
    assert isinstance(failed, Failed)
    assert (failed.code, failed.is_permanent, failed.is_unreachable) == (f"HTTP_{status}", True, False)


@pytest.mark.parametrize("status", [401, 403, 407, 408, 425, 429, 500, 502, 503, 504, 507, 599])
async def test_statuses_that_are_worth_another_attempt(treasury: Agency, status: int) -> None:
    treasury.behaviour = answers(status, b"<html>", "text/html", Retry_After="7")
    failed = await outcome(treasury)
    assert isinstance(failed, Failed)
    assert (failed.code, failed.is_permanent, failed.retry_after_ms) == (f"HTTP_{status}", False, 7_000)
    assert failed.is_unreachable is (status in (502, 503, 504))
    assert failed.asks_for_peace_ms == (7_000 if status in (429, 503) else None)


async def test_a_problem_says_what_went_wrong_in_the_services_words(treasury: Agency) -> None:
    problem = {"type": "about:blank", "title": "No such loan", "detail": "FSA-1 was closed", "code": "LOAN_CLOSED"}
    treasury.behaviour = answers(422, json.dumps(problem).encode(), "application/problem+json")
    assert await outcome(treasury) == Failed("LOAN_CLOSED", "No such loan: FSA-1 was closed", is_permanent=True)


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b"\xff", b'{"title": 7, "detail": {}, "code": "no code"}', b"[" * 4000]
)
async def test_a_problem_that_cannot_be_read_is_told_by_its_status(treasury: Agency, body: bytes) -> None:
    treasury.behaviour = answers(404, body, "application/problem+json")
    assert await outcome(treasury) == Failed("HTTP_404", "the service answered 404 Not Found", is_permanent=True)


async def test_a_redirection_is_never_followed(treasury: Agency) -> None:
    async with agency() as elsewhere:
        for status in (301, 302, 303, 307, 308):
            treasury.behaviour = answers(status, Location=f"http://127.0.0.1:{elsewhere.port}/steal")
            failed = await outcome(treasury)
            assert isinstance(failed, Failed)
            assert (failed.code, failed.is_permanent) == (f"HTTP_{status}", True)
        assert elsewhere.connections == 0


@pytest.mark.parametrize(
    "behaviour",
    [
        answers(200, b"<html>please sign in</html>", "text/html"),
        answers(200, b'{"paid":'),
        answers(200, b"NaN,"),
        answers(200, gzip.compress(b"{}"), Content_Encoding="gzip"),
        answers(500, gzip.compress(b"{}"), Content_Encoding="gzip"),
    ],
    ids=["page", "cut short", "nonsense", "compressed", "compressed failure"],
)
async def test_garbage_in_an_answer_is_a_failure_worth_another_attempt(treasury: Agency, behaviour: object) -> None:
    treasury.behaviour = behaviour  # type: ignore[assignment]
    failed = await outcome(treasury)
    assert isinstance(failed, Failed)
    assert (failed.code, failed.is_permanent) == ("BAD_ANSWER", False)


# -- servers that misbehave --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("behaviour", "code"),
    [
        (says(b"SSH-2.0-OpenSSH_9.2\r\n\r\n", then_closes=True), "BAD_ANSWER"),
        (says(b"\x00\xff" * 500, then_closes=True), "BAD_ANSWER"),
        (says(b"", then_closes=True), "BAD_ANSWER"),
        (says(b"HTTP/1.1 200 OK\r\nContent-Le", then_closes=True), "BAD_ANSWER"),
        (says(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"paid', then_closes=True), "BAD_ANSWER"),
        (says(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", then_closes=True), "BAD_ANSWER"),
        (says(b"HTTP/1.1 200 OK\r\n" + b"X-Filler: y\r\n" * 20_000 + b"\r\n"), "BAD_ANSWER"),
        (says(b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n12"), "BAD_ANSWER"),
    ],
    ids=["ssh", "bytes", "nothing", "cut head", "cut body", "bad chunk", "endless head", "two lengths"],
)
async def test_what_is_no_whole_answer_is_no_answer(treasury: Agency, behaviour: object, code: str) -> None:
    treasury.behaviour = behaviour  # type: ignore[assignment]
    failed = await outcome(treasury)
    assert isinstance(failed, Failed)
    assert (failed.code, failed.is_unreachable, failed.is_permanent) == (code, True, False)


async def test_a_connection_that_is_refused_says_so() -> None:
    async with agency() as gone:
        port = gone.port
    async with caller(f"http://127.0.0.1:{port}/") as made:
        failed = await made.call(call(), soon())
        assert not await made.is_there()
    assert isinstance(failed, Failed)
    assert (failed.code, failed.is_unreachable, failed.is_permanent) == ("CONNECT_FAILED", True, False)


async def test_an_answer_without_end_is_cut_off_at_the_bound(treasury: Agency) -> None:
    treasury.behaviour = floods
    failed = await outcome(treasury)
    assert isinstance(failed, Failed)
    assert (failed.code, failed.is_permanent, failed.is_unreachable) == ("ANSWER_TOO_LARGE", True, False)
    await treasury.hung_up.wait()


async def test_an_answer_that_says_it_is_too_large_is_not_read(treasury: Agency) -> None:
    treasury.behaviour = says(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n")
    failed = await outcome(treasury)
    assert isinstance(failed, Failed)
    assert failed.code == "ANSWER_TOO_LARGE"


@pytest.mark.parametrize("behaviour", [hangs, drips], ids=["hangs", "drips"])
async def test_whoever_hangs_or_drips_is_hung_up_on_at_the_deadline(treasury: Agency, behaviour: object) -> None:
    treasury.behaviour = behaviour  # type: ignore[assignment]
    async with caller(f"http://127.0.0.1:{treasury.port}/") as made:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await made.call(call(), soon())
        await treasury.hung_up.wait()
        # Nothing of it is left in the way of the next.
        treasury.behaviour = answers(200, b"1")
        assert await made.call(call(), soon()) == Done(b"1")


async def test_a_call_that_hangs_does_not_keep_others_or_a_look_waiting(treasury: Agency) -> None:
    treasury.behaviour = hangs
    async with caller(f"http://127.0.0.1:{treasury.port}/", concurrency=1) as made, asyncio.TaskGroup() as tasks:
        hanging = tasks.create_task(made.call(call(), soon()))
        await until(lambda: bool(treasury.asked))
        treasury.behaviour = answers(404)
        assert await made.is_there()
        assert treasury.asked[-1].line.startswith("OPTIONS /")
        hanging.cancel()


@pytest.mark.parametrize(("status", "is_there"), [(200, True), (405, True), (500, True), (502, False), (503, False)])
async def test_a_look_believes_whatever_the_service_says_and_no_gateway(
    treasury: Agency, status: int, is_there: bool
) -> None:
    treasury.behaviour = answers(status)
    async with caller(f"http://127.0.0.1:{treasury.port}/") as made:
        assert await made.is_there() is is_there


# -- where calls go ----------------------------------------------------------------------------------------------------


async def test_proxies_of_the_environment_count_for_nothing(treasury: Agency, monkeypatch: pytest.MonkeyPatch) -> None:
    async with agency() as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        assert await outcome(treasury) == Done(b"{}")
        assert proxy.connections == 0


async def test_a_configured_proxy_is_used(treasury: Agency) -> None:
    async with agency() as proxy:
        proxy.behaviour = answers(200, b'"by proxy"')
        assert await outcome(treasury, proxy=f"http://127.0.0.1:{proxy.port}") == Done(b'"by proxy"')
        assert proxy.asked[0].line.startswith(f"POST http://127.0.0.1:{treasury.port}/steps")
    assert treasury.connections == 0


# -- TLS ---------------------------------------------------------------------------------------------------------------


async def test_over_tls_both_sides_show_their_certificates(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    ours = authority.issue("hmsactd")
    async with agency(authority.server(authority.issue("treasury"), asks_for_clients=True)) as treasury:
        address = f"https://127.0.0.1:{treasury.port}/"
        shown = {"ca_file": authority.file, "certificate_file": ours.certificate, "key_file": ours.key}
        async with caller(address, **shown) as made:
            assert await made.call(call(), soon()) == Done(b"{}")
        async with caller(address, ca_file=authority.file) as made:
            failed = await made.call(call(), soon())
        assert isinstance(failed, Failed)
        assert (failed.is_unreachable, failed.is_permanent) == (True, False)
        assert len(treasury.asked) == 1


@pytest.mark.parametrize("fault", ["authority", "host", "expired"])
async def test_a_server_that_cannot_show_who_it_is_is_told_nothing(tmp_path: Path, fault: str) -> None:
    authority, stranger = Authority(tmp_path), Authority(tmp_path, "stranger")
    past = datetime.datetime(2021, 1, 1, tzinfo=datetime.UTC)
    shown = {
        "authority": stranger.issue("treasury"),
        "host": authority.issue("other", host="treasury.gov"),
        "expired": authority.issue("expired", end=past),
    }[fault]
    async with agency(authority.server(shown)) as treasury:
        async with caller(f"https://127.0.0.1:{treasury.port}/", ca_file=authority.file) as made:
            failed = await made.call(call(), soon())
            assert not await made.is_there()
        assert isinstance(failed, Failed)
        assert (failed.code, failed.is_unreachable) == ("CONNECT_FAILED", True)
        assert "certificate" in failed.message.lower()
        assert treasury.asked == []


async def test_without_a_ca_file_only_the_machines_authorities_count(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    async with agency(authority.server(authority.issue("treasury"))) as treasury:
        async with caller(f"https://127.0.0.1:{treasury.port}/") as made:
            failed = await made.call(call(), soon())
        assert isinstance(failed, Failed)
        assert failed.code == "CONNECT_FAILED"


async def test_a_server_without_tls_is_told_nothing(tmp_path: Path) -> None:
    heard: list[bytes] = []

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read(65_536))
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(greet, "127.0.0.1", 0) as server:
        address = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        async with caller(address, ca_file=Authority(tmp_path).file) as made:
            failed = await made.call(call(), soon())
    assert isinstance(failed, Failed)
    assert (failed.code, failed.is_unreachable) == ("CONNECT_FAILED", True)
    assert b"FSA-1" not in b"".join(heard)
