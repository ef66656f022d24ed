"""Programs are known by a certificate or a token, as the one workload that the settings enrol."""

from __future__ import annotations

import os
import stat
import time
from datetime import timedelta
from pathlib import Path

import pytest

from hmsactd.core.principal import PrincipalKind
from hmsactd.errors import Unauthenticated
from hmsactd.identity.api_token import ApiToken, digest_of, is_token, make_token
from hmsactd.identity.api_tokens import FILE, TokenFile, TokensRefused
from hmsactd.identity.credential import Asked
from hmsactd.identity.identity import Identity
from hmsactd.identity.workload import ApiTokens, Certificates, Workload
from tests.identity.authority import Authority

IRS = Workload("irs", certificate="spiffe://agency.gov/irs", serves=("IRS",))
MAIL = Workload("mail", certificate="x509:CN=mail", serves=("Email",))
BOT = Workload("casebot", PrincipalKind.AGENT, responsible="https://idp:7")
WORKLOADS = {each.name: each for each in (IRS, MAIL, BOT)}
AUTHORITY = Authority()
NOW = 1_790_000_000_000_000
HOUR = 3_600_000_000


def certificates() -> Certificates:
    return Certificates(WORKLOADS.values(), {"agency.gov"})


def refusal(*uris: str, subject: str = "") -> str:
    pem, _ = AUTHORITY.issue(*uris, subject=subject)
    with pytest.raises(Unauthenticated) as refused:
        certificates().credential(pem, NOW)
    return refused.value.reason


# -- certificates ------------------------------------------------------------------------------------------------------


def test_one_spiffe_id_names_a_workload() -> None:
    pem, _ = AUTHORITY.issue("spiffe://agency.gov/irs", subject="whatever")
    principal = certificates().credential(pem, NOW).principal
    assert (principal.id, principal.kind, principal.method) == ("workload:irs", PrincipalKind.SERVICE, "certificate")


def test_without_a_uri_the_subject_names_it_if_the_settings_say_so() -> None:
    pem, _ = AUTHORITY.issue(subject="mail")
    assert certificates().credential(pem, NOW).principal.id == "workload:mail"
    assert refusal(subject="irs") == "WORKLOAD_UNKNOWN"
    assert refusal() == "CERTIFICATE_NAMELESS"


@pytest.mark.parametrize(
    ("uris", "reason"),
    [
        (("spiffe://agency.gov/irs", "spiffe://agency.gov/mail"), "CERTIFICATE_AMBIGUOUS"),
        (("spiffe://agency.gov/irs", "https://agency.gov"), "CERTIFICATE_AMBIGUOUS"),
        (("spiffe://other.gov/irs",), "TRUST_DOMAIN_UNKNOWN"),
        (("spiffe://agency.gov/unheard-of",), "WORKLOAD_UNKNOWN"),
        (("https://agency.gov/irs",), "CERTIFICATE_NAME"),
        (("spiffe://agency.gov",), "CERTIFICATE_NAME"),
        (("spiffe://agency.gov/",), "CERTIFICATE_NAME"),
        (("spiffe://agency.gov/a/../irs",), "CERTIFICATE_NAME"),
        (("spiffe://agency.gov/irs?x=1",), "CERTIFICATE_NAME"),
        (("spiffe://Agency.gov/irs",), "CERTIFICATE_NAME"),
        (("spiffe://agency.gov:80/irs",), "CERTIFICATE_NAME"),
        (("spiffe://agency.gov/" + "x" * 255,), "CERTIFICATE_NAME"),
    ],
)
def test_other_names_are_nobodys(uris: tuple[str, ...], reason: str) -> None:
    # A subject that is enrolled doesn't help: the URI is what counts where there is one.
    assert refusal(*uris, subject="mail") == reason


def test_what_is_no_certificate() -> None:
    with pytest.raises(Unauthenticated, match="can't be read"):
        certificates().credential(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", NOW)


def test_it_ends_with_its_certificate() -> None:
    pem, _ = AUTHORITY.issue("spiffe://agency.gov/irs", ends=timedelta(seconds=100))
    known = certificates()
    now = round(time.time() * 1e6)
    assert known.credential(pem, now).principal.subject == "irs"
    with pytest.raises(Unauthenticated, match="expired"):
        known.credential(pem, now + 101_000_000)


# -- tokens ------------------------------------------------------------------------------------------------------------


def test_a_token_is_told_by_its_shape() -> None:
    token = make_token()
    assert is_token(token)
    assert token != make_token()
    for at in range(7, len(token)):
        assert not is_token(token[:at] + ("a" if token[at] != "a" else "b") + token[at + 1 :])
    assert not any(is_token(said) for said in ("", "hmsact_", token + "x", token[:-1], token.upper(), "dev:casebot"))


def kept(token: str, principal: str = "irs", id: str = "t1", **changed: object) -> ApiToken:  # noqa: A002
    told = {"created_at": NOW, "expires_at": NOW + HOUR} | changed
    return ApiToken(id, principal, digest_of(token), **told)  # type: ignore[arg-type]


def test_a_token_stands_for_its_workload_until_it_ends(tmp_path: Path) -> None:
    file, token = TokenFile(tmp_path), make_token()
    file.add(kept(token))
    assert file.look()
    assert not file.look()
    door = ApiTokens(WORKLOADS, file)
    credential = door.credential(token, NOW)
    assert credential is not None
    assert (credential.principal.id, credential.principal.method) == ("workload:irs", "token")
    assert door.credential("dev:casebot", NOW) is None
    with pytest.raises(Unauthenticated, match="expired"):
        door.credential(token, NOW + HOUR)
    with pytest.raises(Unauthenticated, match="not known"):
        door.credential(make_token(), NOW)
    assert file.revoke("t1", NOW + 5).revoked_at == NOW + 5
    assert file.look()
    with pytest.raises(Unauthenticated, match="revoked"):
        door.credential(token, NOW + 6)
    assert file.revoke("t1", NOW + 9).revoked_at == NOW + 5, "once"


def test_a_token_of_a_workload_that_is_gone_lets_nobody_in(tmp_path: Path) -> None:
    file, token = TokenFile(tmp_path), make_token()
    file.add(kept(token, "retired"))
    file.look()
    with pytest.raises(Unauthenticated, match="not known"):
        ApiTokens(WORKLOADS, file).credential(token, NOW)


def test_the_token_itself_is_kept_nowhere_and_the_file_is_its_owners(tmp_path: Path) -> None:
    file, token = TokenFile(tmp_path), make_token()
    file.add(kept(token))
    path = tmp_path / FILE
    assert token not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o640)
    with pytest.raises(TokensRefused, match="read by others"):
        file.tokens()


def test_a_file_that_is_no_use_is_refused_with_what_to_do(tmp_path: Path) -> None:
    file = TokenFile(tmp_path)
    assert file.tokens() == []
    with pytest.raises(TokensRefused, match="no token t9"):
        file.revoke("t9", NOW)
    descriptor = os.open(tmp_path / FILE, os.O_CREAT | os.O_WRONLY, 0o600)
    os.write(descriptor, b'{"tokens": [{"id": 7}]}')
    os.close(descriptor)
    with pytest.raises(TokensRefused, match="damaged"):
        file.look()


# -- both --------------------------------------------------------------------------------------------------------------


def test_two_credentials_are_never_added_up(tmp_path: Path) -> None:
    file, token = TokenFile(tmp_path), make_token()
    file.add(kept(token, "mail"))
    file.look()
    identity = Identity([ApiTokens(WORKLOADS, file)], certificates(), workloads=WORKLOADS, now=lambda: NOW)
    pem, _ = AUTHORITY.issue("spiffe://agency.gov/irs")
    bearing = [("authorization", f"Bearer {token}")]
    assert identity.credential_of(bearing, pem).principal.subject == "mail"
    assert identity.credential_of(bearing, pem, Asked.PERSON).principal.subject == "mail"
    assert identity.credential_of(bearing, pem, Asked.WORKLOAD).principal.subject == "irs"
    assert identity.credential_of([], pem, Asked.PERSON).principal.subject == "irs"
    irs = identity.credential_of([], pem).principal
    assert identity.may_serve(irs, "IRS")
    assert not identity.may_serve(irs, "Email")
    assert not identity.may(irs, "checkpoint.decide")
    with pytest.raises(Unauthenticated):
        identity.credential_of([("authorization", "Bearer nonsense")], pem)
