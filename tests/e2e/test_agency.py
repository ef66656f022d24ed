"""In earnest: everybody shows who they are, over TLS, and does only what they may."""

from __future__ import annotations

import ssl
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from hmsact import Checkpoint, Orchestrator, Step
from hmsact.errors import HmsactError, Refused, Unauthenticated, Unavailable
from hmsact.v1 import system_pb2, system_pb2_grpc
from hmsact.verify import verify

from hmsactd.rpc.permissions import FILES, permission_table
from tests.e2e.agency import Agency, agency
from tests.identity.authority import Authority

FLOW = [Step("ask", svc="IRS"), Checkpoint("human_review", role="fsa.officer")]
IRS = "spiffe://agency.gov/irs"


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agency]:
    with agency(tmp_path_factory.mktemp("agency")) as office:
        yield office


def reason(act: Orchestrator) -> str:
    """Why somebody is not let in."""
    with act, pytest.raises(HmsactError) as refused:
        act.whoami()
    return refused.value.reason


# -- a whole life ------------------------------------------------------------------------------------------------------


def test_an_operation_goes_from_a_signed_in_person_over_a_certified_worker_to_another_person(office: Agency) -> None:
    with (
        office.person("operator", "hmsact.operator", "fsa.officer") as operator,
        office.person("officer", "fsa.officer") as officer,
        office.serving("IRS", "ask", IRS),
    ):
        operation = operator.start(name="flow", steps=FLOW)
        deadline = time.monotonic() + 20
        while not (pending := list(officer.inbox())):
            assert time.monotonic() < deadline
        assert pending[0].operation_id == operation.id
        with pytest.raises(Refused) as own:
            operator.approve(operation, "human_review")
        assert own.value.reason == "STARTED_BY_CALLER"
        officer.approve(operation, "human_review")
        assert operation.wait("20s").state == "completed"
        acted = {event.principal.id for event in operator.events(operation, all=True)}
        export = operator.export(operation)
    verify(export)
    assert acted >= {"https://idp.fsa.gov:operator", "https://idp.fsa.gov:officer", "workload:irs"}


def test_who_somebody_is(office: Agency) -> None:
    with office.person("counsel") as act:
        me = act.whoami()
        assert (me.principal.id, me.principal.roles) == ("https://idp.fsa.gov:counsel", ("fsa.counsel",))
        assert "checkpoint.decide" in me.permissions
    with office.workload(IRS) as act:
        assert act.whoami().principal.id == "workload:irs"
    with office.person("nobody in particular", "offline_access", "uma_authorization") as act:
        assert act.whoami().permissions == ()
        with pytest.raises(Refused):
            act.count()


# -- who is not let in -------------------------------------------------------------------------------------------------


def test_without_a_good_token_nobody_is_let_in(office: Agency) -> None:
    assert reason(office.act(None)) == "TOKEN_MISSING"
    assert reason(office.act("dev:developer")) == "TOKEN_UNKNOWN"
    assert reason(office.person("officer", lasts_s=-5)) == "TOKEN_EXPIRED"
    assert reason(office.person("officer", aud="another")) == "TOKEN_AUDIENCE"


def test_without_a_good_certificate_nobody_is_let_in_where_one_is_asked_for(office: Agency) -> None:
    with (
        Orchestrator(office.mutual, token="", tls=office.trusted(), timeout="3s") as nobody,
        pytest.raises(Unavailable),
    ):
        nobody.whoami()
    stranger = Authority("stranger")
    for act in (
        office.workload(IRS, authority=stranger),
        office.workload(IRS, begins=-timedelta(days=2), ends=-timedelta(days=1)),
    ):
        with act, pytest.raises(HmsactError):
            act.whoami()
    assert reason(office.workload(IRS, "spiffe://agency.gov/other")) == "CERTIFICATE_AMBIGUOUS"
    assert reason(office.workload("spiffe://elsewhere.gov/irs")) == "TRUST_DOMAIN_UNKNOWN"
    assert reason(office.workload("spiffe://agency.gov/unheard-of")) == "WORKLOAD_UNKNOWN"
    assert reason(office.workload(subject="irs")) == "WORKLOAD_UNKNOWN"


def test_headers_of_proxies_say_nothing(office: Agency) -> None:
    with grpc.secure_channel(office.address, office.trusted()) as channel:
        stub = system_pb2_grpc.SystemServiceStub(channel)
        spoofed = (("x-user", "officer"), ("x-role", "fsa.officer"), ("x-forwarded-client-cert", f"URI={IRS}"))
        with pytest.raises(grpc.RpcError) as refused:
            stub.Whoami(system_pb2.WhoamiRequest(), metadata=spoofed, timeout=10)
    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_a_certificate_serves_its_service_and_decides_nothing(office: Agency) -> None:
    with office.workload(IRS) as irs:
        operation = irs.start(name="flow", steps=[Checkpoint("human_review", role="fsa.officer")])
        with pytest.raises(Refused) as decided:
            irs.approve(operation, "human_review")
        assert decided.value.reason == "PERMISSION_MISSING"
        with pytest.raises(Refused):
            irs.cancel(operation)


def test_every_rpc_is_closed_to_nobody_and_to_those_without_a_role(office: Agency) -> None:
    """Whatever an RPC does, it is refused before it looks at the request."""
    shown = (("authorization", f"Bearer {office.token('someone')}"),)
    with grpc.secure_channel(office.address, office.trusted()) as channel:
        for file in FILES:
            for service in file.services_by_name.values():
                for method in service.methods:
                    rpc = f"/{service.full_name}/{method.name}"
                    assert code_of(channel, rpc, ()) is grpc.StatusCode.UNAUTHENTICATED, rpc
                    code = code_of(channel, rpc, shown)
                    is_public = permission_table()[rpc] == "public"
                    assert (code is grpc.StatusCode.PERMISSION_DENIED) is not is_public, rpc


def code_of(channel: grpc.Channel, rpc: str, metadata: tuple[tuple[str, str], ...]) -> grpc.StatusCode:
    invoke: Any = channel.stream_stream(rpc)
    call = invoke(iter([b""]), metadata=metadata, timeout=10)
    try:
        for _ in call:
            pass
    except grpc.RpcError as refused:
        return refused.code()
    return grpc.StatusCode.OK


# -- API tokens --------------------------------------------------------------------------------------------------------


def test_a_token_is_made_listed_and_revoked_while_the_daemon_runs(office: Agency) -> None:
    made = office.run("token", "create", "portal", "--note", "web 1")
    assert made.returncode == 0, made.stderr
    token = made.stdout.strip()
    (id_,) = (word for word in made.stderr.split() if word.startswith("tok_"))
    until_let_in(office, token)
    listed = office.run("token", "list")
    assert id_ in listed.stdout
    assert token not in listed.stdout
    assert token not in (office.directory / "data" / "tokens.json").read_text()
    with office.act(token) as portal:
        operation = portal.start(name="flow", steps=FLOW, requested_by="citizen 7")
        ended = threading.Event()
        failures: list[HmsactError] = []

        def follow() -> None:
            try:
                for _ in portal.events(operation, all=True):
                    pass
            except HmsactError as error:
                failures.append(error)
            ended.set()

        follower = threading.Thread(target=follow)
        follower.start()
        assert office.run("token", "revoke", id_).returncode == 0
        assert ended.wait(15), "a stream ends with its credential"
        follower.join()
    assert [failure.reason for failure in failures] == ["TOKEN_REVOKED"]
    assert reason(office.act(token)) == "TOKEN_REVOKED"
    assert "revoked" in office.run("token", "list", "--json").stdout
    assert office.run("token", "create", "unheard-of").returncode == 2
    assert office.run("token", "revoke", "tok_none").returncode == 1


def until_let_in(office: Agency, token: str) -> None:
    deadline = time.monotonic() + 15
    with office.act(token) as act:
        while True:
            try:
                act.whoami()
            except Unauthenticated:
                assert time.monotonic() < deadline
            else:
                return


def test_a_stream_ends_when_its_token_has_expired(office: Agency) -> None:
    with office.person("operator", "hmsact.operator") as operator:
        operation = operator.start(name="flow", steps=FLOW)
    with office.person("watcher", "hmsact.viewer", lasts_s=3) as watcher, pytest.raises(Unauthenticated) as ended:
        for _ in watcher.events(operation, all=True):
            pass
    assert ended.value.reason == "TOKEN_EXPIRED"


# -- safe by default ---------------------------------------------------------------------------------------------------


def test_the_certificate_is_exchanged_while_the_daemon_runs(tmp_path: Path) -> None:
    with agency(tmp_path) as office:
        with office.person("officer", "fsa.officer") as act:
            act.whoami()
            old = office.authority
            office.authority = Authority("servers, anew")
            office.authority.write(tmp_path, "server", office.authority.issue(hosts=["127.0.0.1"]))
            act.whoami()
        deadline = time.monotonic() + 20
        while True:
            try:
                with office.person("officer", "fsa.officer") as act:
                    act.whoami()
                break
            except HmsactError:
                assert time.monotonic() < deadline, "the new certificate is shown"
        office.authority = old
        with (
            Orchestrator(office.address, token=office.token("x"), tls=office.trusted(), timeout="2s") as act,
            pytest.raises(Unavailable),
        ):
            act.whoami()


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ('listen = "127.0.0.1:0"\ncertificate', 'listen = "0.0.0.0:0"\n#', "certificate_file"),
        ('[http]\nlisten = "127.0.0.1:0"', '[http]\nlisten = "0.0.0.0:0"', "certificate_file"),
        ("[identity]", "[identity_]", "did you mean identity?"),
        ('roles = ["fsa.counsel"]', 'roles = ["*"]', "no role can be called so"),
        ('kind = "agent"\n', 'kind = "agent"\nserves = ["IRS"]\n', "an agent does no steps"),
        ('responsible = "https://idp.fsa.gov:operator"\n', "", "has to name a person"),
        ('https://idp.fsa.gov"\nkeys', 'http://idp.fsa.gov"\nkeys', "is not an address"),
        ("agency.gov/irs", "other.gov/irs", "trust_domains does not name"),
        ('people."https://idp.fsa.gov:', 'people."https://idp.fsa.gov/:', "is of none of identity.issuers"),
        ('responsible = "https://idp', 'responsible = "https://ipd', "is of none of identity.issuers"),
        ('clients = ["https://idp.fsa.gov:desk', 'clients = ["https://ipd.fsa.gov:desk', "is of none of identity"),
        ('clients = ["https://idp.fsa.gov:desk', 'clients = ["desk', "'desk' is not a client"),
        ('roles = ["fsa.counsel"]', 'roles = ["fsa.council"]', "has the role fsa.council, of which there is nothing"),
        ("server.key", "nothing.key", "nothing.key"),
    ],
)
def test_settings_that_are_not_safe_are_refused(tmp_path: Path, before: str, after: str, told: str) -> None:
    office = Agency(tmp_path)
    path = tmp_path / "settings.toml"
    text = path.read_text()
    assert before in text
    path.write_text(text.replace(before, after))
    refused = office.run("serve")
    assert refused.returncode in (1, 2), refused.stderr
    assert told in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    office = Agency(tmp_path)
    (tmp_path / "server.key").chmod(0o644)
    refused = office.run("serve")
    assert refused.returncode == 1
    assert "can be read by others" in refused.stderr


def test_elsewhere_nobody_can_be_listened_to_who_has_no_way_in(tmp_path: Path) -> None:
    office = Agency(tmp_path)
    path = tmp_path / "settings.toml"
    text = path.read_text().replace('listen = "127.0.0.1:0"\ncertificate', 'listen = "0.0.0.0:0"\ncertificate')
    path.write_text(text[: text.index("[identity]")])
    refused = office.run("serve")
    assert refused.returncode == 2
    assert "nobody can sign in" in refused.stderr


def test_metrics_elsewhere_ask_for_a_token(tmp_path: Path) -> None:
    office = Agency(tmp_path)
    path = tmp_path / "settings.toml"
    pages = (
        f'[http]\nlisten = "0.0.0.0:0"\ncertificate_file = "{tmp_path}/server.pem"\nkey_file = "{tmp_path}/server.key"'
    )
    roles = '[identity.roles."monitor"]\npermissions = ["metrics.read"]\n'
    path.write_text(path.read_text().replace('[http]\nlisten = "127.0.0.1:0"', pages) + roles)
    trusted = ssl.create_default_context(cadata=office.authority.pem.decode())
    office.start()
    port = office.http.rpartition(":")[2]

    def ask(page: str, token: str = "") -> int:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        request = urllib.request.Request(f"https://127.0.0.1:{port}{page}", headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=10, context=trusted) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as refused:
            with refused:
                return refused.code

    try:
        assert ask("/metrics") == 401
        assert ask("/metrics", office.token("someone")) == 403
        assert ask("/metrics", office.token("prometheus", "monitor")) == 200
        assert ask(f"/metrics?access_token={office.token('prometheus', 'monitor')}") == 400
        assert (ask("/healthz"), ask("/readyz")) == (200, 200)
    finally:
        office.stop()


def test_no_secret_is_told_anywhere(tmp_path: Path) -> None:
    """Whatever is shown, good or no good, stands in no log, metric, error or list of settings."""
    path = tmp_path / "settings.toml"
    office = Agency(tmp_path)
    path.write_text(path.read_text().replace('level = "warning"', 'level = "debug"'))
    office.start()
    try:
        api = office.run("token", "create", "portal").stdout.strip()
        until_let_in(office, api)
        good, expired = office.token("officer", "fsa.officer"), office.token("officer", lasts_s=-50)
        secrets = [
            api,
            api[:-1] + ("a" if api[-1] != "a" else "b"),
            good,
            expired,
            f"{good}x",
            "hmsact_canary",
            "a.b.canary",
        ]
        told = []
        for secret in secrets:
            with office.act(secret) as act:
                try:
                    act.whoami()
                    act.count()
                except HmsactError as error:
                    told.append(f"{error!r} {error} {error.metadata}")
            # As that of a person for whom somebody acts: the first is good, and what they start is on the record.
            with office.workload("spiffe://agency.gov/portal") as portal:
                try:
                    portal.on_behalf_of(secret).start(name="flow", steps=FLOW)
                except HmsactError as error:
                    told.append(f"{error!r} {error} {error.metadata}")
        with urllib.request.urlopen(f"http://{office.http}/metrics", timeout=10) as metrics:
            told.append(metrics.read().decode())
    finally:
        office.stop()
    told += [path.read_text("latin-1") for path in (tmp_path / "data").iterdir() if path.is_file()]
    told += [(tmp_path / "log").read_text(), office.run("config").stdout, office.run("token", "list", "--json").stdout]
    parts = {part for secret in secrets for part in (secret, secret.rpartition(".")[2])}
    key = (tmp_path / "server.key").read_text().splitlines()[1]
    assert not [part for part in {*parts, key} for text in told if part in text]
