"""Signing in at a terminal, against a provider that says what a test lets it say."""

from __future__ import annotations

import json
import stat
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import parse_qs

import grpc
import pytest
from hmsact.cli import run
from hmsact.errors import HmsactError, InvalidArgument, PreconditionFailed, Unauthenticated, Unavailable
from hmsact.provider import DEVICE_GRANT, Provider
from hmsact.signed_in import SignedIn, SignIns
from hmsact.v1 import system_pb2

from tests.sdk.fake import FakeDaemon, operation, refuse

CODE = {"device_code": "secret", "user_code": "BCDF-GHJK", "verification_uri": "https://idp/device", "interval": 0.01}
TOKENS = {"token_type": "Bearer", "access_token": "fresh", "expires_in": 3600, "refresh_token": "next"}


class Scripted:
    """A provider: what it answers at each path, in turn; the last answer goes on for ever."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.heard: list[tuple[str, dict[str, str]]] = []
        names = ("device_authorization_endpoint", "token_endpoint", "revocation_endpoint")
        described = {"issuer": self.url, **{name: f"{self.url}/{name}" for name in names}}
        self.answers: dict[str, list[tuple[int, Any]]] = {
            "/.well-known/openid-configuration": [(200, described)],
            "/device_authorization_endpoint": [(200, CODE)],
            "/token_endpoint": [(200, TOKENS)],
            "/revocation_endpoint": [(200, None)],
        }

    def on(self, endpoint: str, *answers: tuple[int, Any]) -> None:
        self.answers[f"/{endpoint}"] = list(answers)

    def answer(self, path: str, said: dict[str, str]) -> tuple[int, Any]:
        self.heard.append((path, said))
        answers = self.answers[path]
        return answers.pop(0) if len(answers) > 1 else answers[0]


@pytest.fixture
def idp() -> Iterator[Scripted]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer({})

        def do_POST(self) -> None:
            text = self.rfile.read(int(self.headers["Content-Length"])).decode()
            self._answer({name: values[0] for name, values in parse_qs(text).items()})

        def _answer(self, said: dict[str, str]) -> None:
            status, told = scripted.answer(self.path, said)
            self.send_response(status)
            if status == 302:
                self.send_header("Location", told)
            body = told if isinstance(told, bytes) else b"" if told is None else json.dumps(told).encode()
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        scripted = Scripted(server.server_port)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield scripted
        server.shutdown()


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SignIns:
    for name in ("HMSACT_TOKEN", "HMSACT_ISSUER", "HMSACT_CLIENT_ID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HMSACT_SIGNED_IN", str(tmp_path / "new" / "signed_in.json"))
    return SignIns.of_user()


def signed_in(idp: Scripted, **changed: Any) -> SignedIn:
    usual = SignedIn(idp.url, "terminal", "openid", None, None, "kept", time.time() + 3600, "renews")
    return replace(usual, **changed)


def pending(reason: str) -> tuple[int, dict[str, str]]:
    return 400, {"error": reason}


# -- the provider ------------------------------------------------------------------------------------------------------


def test_it_waits_until_somebody_has_signed_in_and_asks_less_often_when_told(idp: Scripted) -> None:
    idp.on("device_authorization_endpoint", (200, {**CODE, "interval": 1}))
    idp.on("token_endpoint", pending("authorization_pending"), pending("slow_down"), (503, b"busy"), (200, TOKENS))
    provider, slept = Provider(idp.url, "terminal"), list[float]()
    asked = provider.ask("openid", "urn:hmsactd")
    assert provider.wait(asked, None, sleep=slept.append).access == "fresh"
    assert slept == [1, 1, 6, 11]
    assert idp.heard[1] == (
        "/device_authorization_endpoint",
        {"client_id": "terminal", "scope": "openid", "resource": "urn:hmsactd"},
    )
    assert idp.heard[-1][1] == {"client_id": "terminal", "grant_type": DEVICE_GRANT, "device_code": "secret"}


def test_who_declines_or_lets_the_time_pass_is_not_signed_in(idp: Scripted) -> None:
    provider = Provider(idp.url, "terminal")
    idp.on("token_endpoint", (400, {"error": "access_denied", "error_description": "No, thanks"}))
    with pytest.raises(Unauthenticated, match="says No, thanks"):
        provider.wait(provider.ask("openid", None), None, sleep=lambda _: None)
    idp.on("token_endpoint", pending("authorization_pending"))
    times = iter(range(0, 100_000, 200))
    with pytest.raises(Unauthenticated, match="nobody has signed in in time"):
        provider.wait(provider.ask("openid", None), None, sleep=lambda _: None, now=lambda: next(times))


@pytest.mark.parametrize(
    "issuer", ["http://idp.agency.gov", "ftp://idp.agency.gov", "idp.agency.gov", "file:///etc/passwd"]
)
def test_an_issuer_is_asked_over_tls_or_on_this_machine(issuer: str) -> None:
    with pytest.raises(InvalidArgument, match="is no https address"):
        Provider(issuer, "terminal")


def test_another_issuers_description_is_not_believed(idp: Scripted) -> None:
    idp.on(".well-known/openid-configuration", (200, {"issuer": "https://elsewhere"}))
    with pytest.raises(InvalidArgument, match="describes another issuer, https://elsewhere"):
        Provider(idp.url, "terminal")


def test_a_description_that_leads_to_plain_http_elsewhere_is_not_followed(idp: Scripted) -> None:
    described = {"issuer": idp.url, "device_authorization_endpoint": "http://elsewhere.example/"}
    idp.on(".well-known/openid-configuration", (200, described))
    with pytest.raises(InvalidArgument, match="is no https address"):
        Provider(idp.url, "terminal").ask("openid", None)
    idp.on(".well-known/openid-configuration", (200, {"issuer": idp.url}))
    with pytest.raises(Unauthenticated, match="has no device authorization endpoint"):
        Provider(idp.url, "terminal").ask("openid", None)


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        ((302, "http://127.0.0.1:1/"), "answers 302"),
        ((500, b"<html>"), "answers 500"),
        ((400, b"<html>"), "answers 400"),
        ((200, b"<html>"), "is no JSON object"),
        ((200, b"[" * 100_000), "is no JSON object"),
        ((200, b"{}" + b" " * 300_000), "is no JSON object"),
        ((200, {**TOKENS, "token_type": "mac"}), "no bearer token"),
        ((200, {"token_type": "bearer"}), "has no access_token"),
    ],
)
def test_an_answer_that_is_no_use_is_said_to_be(idp: Scripted, answer: tuple[int, Any], told: str) -> None:
    idp.on("token_endpoint", answer)
    with pytest.raises(HmsactError, match=told):
        Provider(idp.url, "terminal").renew("renews", None)


def test_a_provider_that_is_not_there_is_unavailable() -> None:
    with pytest.raises(Unavailable, match=r"127\.0\.0\.1:1.* does not answer"):
        Provider("http://127.0.0.1:1", "terminal")


# -- what is kept ------------------------------------------------------------------------------------------------------


def test_a_token_is_for_one_daemon_and_its_file_for_its_owner(idp: Scripted, kept: SignIns) -> None:
    kept.keep("a:1", signed_in(idp))
    assert kept.token_for("a:1") == "kept"
    assert kept.token_for("a:2") is None
    assert stat.S_IMODE(kept.path.stat().st_mode) == 0o600
    kept.keep("a:1", None)
    assert kept.token_for("a:1") is None


def test_a_token_that_is_about_to_end_is_renewed_and_the_newer_kept(idp: Scripted, kept: SignIns) -> None:
    kept.keep("a:1", signed_in(idp, expires_at=time.time() + 20, resource="urn:hmsactd"))
    assert kept.token_for("a:1") == "fresh"
    assert idp.heard[-1][1] == {
        "client_id": "terminal",
        "grant_type": "refresh_token",
        "refresh_token": "renews",
        "resource": "urn:hmsactd",
    }
    assert kept.token_for("a:1") == "fresh"
    found = kept.at("a:1")
    assert found is not None
    assert found.refresh == "next"
    idp.on("token_endpoint", (200, {"token_type": "bearer", "access_token": "fresher"}))
    kept.keep("a:1", replace(found, expires_at=0))
    assert kept.token_for("a:1") == "fresher"
    newest = kept.at("a:1")
    assert newest is not None
    assert newest.refresh == "next", "a provider that gives no new one lets the old one go on"


def test_what_another_command_has_renewed_meanwhile_is_taken(
    idp: Scripted, kept: SignIns, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept.keep("a:1", signed_in(idp, expires_at=0))
    newer = signed_in(idp, access="by another", refresh="another")

    def renewed(*_: object) -> None:
        kept.keep("a:1", newer)
        raise Unauthenticated("used before", reason="invalid_grant")

    monkeypatch.setattr(Provider, "renew", renewed)
    assert kept.token_for("a:1") == "by another"


@pytest.mark.parametrize("refresh", [None, "withdrawn"])
def test_a_sign_in_that_can_not_be_renewed_is_over(idp: Scripted, kept: SignIns, refresh: str | None) -> None:
    idp.on("token_endpoint", (400, {"error": "invalid_grant"}))
    kept.keep("a:1", signed_in(idp, expires_at=0, refresh=refresh))
    with pytest.raises(Unauthenticated, match="sign in again with `hmsact login`"):
        kept.token_for("a:1")


def test_a_provider_that_is_away_ends_no_sign_in(idp: Scripted, kept: SignIns) -> None:
    idp.on("token_endpoint", (503, b""))
    kept.keep("a:1", signed_in(idp, expires_at=0))
    with pytest.raises(Unavailable):
        kept.token_for("a:1")
    idp.on("token_endpoint", (200, TOKENS))
    assert kept.token_for("a:1") == "fresh"


def test_a_file_that_others_can_read_or_that_is_damaged_is_refused_with_what_to_do(
    idp: Scripted, kept: SignIns
) -> None:
    kept.keep("a:1", signed_in(idp))
    kept.path.chmod(0o640)
    with pytest.raises(PreconditionFailed, match="chmod 600"):
        kept.token_for("a:1")
    whole = json.loads(kept.path.read_text())
    one = whole["daemons"]["a:1"]
    kept.path.chmod(0o600)
    damages: list[Any] = [[], {"daemons": {"a:1": one | {"access": 1}}}, {"daemons": {"a:1": {"access": "kept"}}}, one]
    for damaged in damages:
        kept.path.write_text(json.dumps(damaged))
        with pytest.raises(PreconditionFailed, match="sign in again"):
            kept.token_for("a:1")


# -- the command line --------------------------------------------------------------------------------------------------


def test_a_sign_in_is_asked_again_without_saying_where(
    idp: Scripted, kept: SignIns, fake: FakeDaemon, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.on("Whoami", system_pb2.WhoamiResponse(principal=operation().started_by))
    assert run(["login", "--address", fake.address]) == 2
    assert "--issuer URL --client-id ID" in capsys.readouterr().err
    assert run(["login", "--issuer", idp.url, "--client-id", "terminal", "--address", fake.address]) == 0
    told = capsys.readouterr()
    assert "https://idp/device" in told.err
    assert "enter BCDF-GHJK" in told.err
    assert "Signed in at" in told.out
    assert run(["login", "--address", fake.address, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["renewable"] is True
    assert {heard.metadata["authorization"] for heard in fake.heard} == {"Bearer fresh"}
    assert run(["whoami", "--address", fake.address]) == 0
    assert fake.heard[-1].metadata["authorization"] == "Bearer fresh"
    assert run(["whoami", "--address", fake.address, "--token", "said"]) == 0
    assert fake.heard[-1].metadata["authorization"] == "Bearer said"


def test_what_the_daemon_refuses_is_not_kept(
    idp: Scripted, kept: SignIns, fake: FakeDaemon, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused(request: system_pb2.WhoamiRequest, context: grpc.ServicerContext) -> NoReturn:
        refuse(context, grpc.StatusCode.UNAUTHENTICATED, "the token is not for this daemon", "TOKEN_AUDIENCE")

    fake.on("Whoami", refused)
    assert run(["login", "--issuer", idp.url, "--client-id", "terminal", "--address", fake.address]) == 1
    assert "the token is not for this daemon" in capsys.readouterr().err
    assert not kept.path.exists()


def test_signing_out_forgets_and_ends_what_renews(
    idp: Scripted, kept: SignIns, capsys: pytest.CaptureFixture[str]
) -> None:
    kept.keep("127.0.0.1:1", signed_in(idp))
    assert run(["logout", "--address", "127.0.0.1:1"]) == 0
    assert idp.heard[-1] == ("/revocation_endpoint", {"client_id": "terminal", "token": "renews"})
    assert run(["logout", "--address", "127.0.0.1:1"]) == 0
    assert "Nobody was signed in" in capsys.readouterr().out
    idp.on("revocation_endpoint", (500, b""))
    kept.keep("127.0.0.1:1", signed_in(idp))
    assert run(["logout", "--address", "127.0.0.1:1"]) == 0
    assert "it is forgotten here, but" in capsys.readouterr().err
    assert kept.at("127.0.0.1:1") is None
