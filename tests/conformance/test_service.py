"""The checks of an endpoint let a correct one pass, and catch every fault."""

from __future__ import annotations

import json
import ssl
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from hmsactd.conformance.service import HTTPS_CHECKS as CHECKS
from tests.conformance.bare_service import FAULTS, SECRET, serving
from tests.conformance.play import nobody_at, run, said_of_service
from tests.conformance.test_page import ANCHORS, TEXT

CAUGHT_BY = {
    "wraps_the_output": "call",
    "says_html": "call",
    "takes_little": "large",
    "dies_of_unknown_members": "unknown",
    "calls_every_failure_permanent": "retry",
    "calls_no_failure_permanent": "permanent",
    "does_every_step": "step",
    "dies_of_bad_json": "body",
    "ignores_the_key": "key",
    "looks_twice_at_a_time": "twin",
    "goes_by_the_attempt": "attempt",
    "defers_with_200": "later",
    "defers_until_whenever": "later",
    "trusts_every_signature": "foreign",
    "trusts_the_unsigned": "unsigned",
    "trusts_the_old": "old",
    "reads_the_first_signature": "rotation",
    "keeps_the_key_of_a_forgery": "foreign",
    "redirects": "call",
    "waits_for_ever_once_hung_up_on": "hang_up",
}
SIGNATURES = {"foreign", "unsigned", "old", "rotation"}


def judged(address: str, *further: str) -> tuple[int, dict[str, dict[str, Any]]]:
    ran = run(address, "--json", *further)
    assert ran.returncode in (0, 1), ran.stderr
    return ran.returncode, {check["name"]: check for check in json.loads(ran.stdout)["checks"]}


def test_every_check_and_every_fault_has_its_counterpart() -> None:
    assert set(CAUGHT_BY) == set(FAULTS)
    assert set(CAUGHT_BY.values()) == {check.name for check in CHECKS}


def test_the_page_lists_every_check_and_has_what_each_leads_to() -> None:
    _, _, listed = TEXT.partition("hmsactd conformance https://")
    assert [check.name for check in CHECKS if f"| `{check.name}` |" not in listed] == []
    assert [check.read for check in CHECKS if check.section not in ANCHORS] == []


def test_a_correct_endpoint_passes() -> None:
    with serving() as address:
        code, checks = judged(address, "--secret", SECRET)
    assert [check for check in checks.values() if check["outcome"] != "passed"] == []
    assert len(checks) == len(CHECKS)
    assert code == 0


@pytest.mark.parametrize(("fault", "check"), CAUGHT_BY.items())
def test_an_endpoint_with_a_fault_is_caught(fault: str, check: str) -> None:
    with serving(fault) as address:
        caught = said_of_service(check, address, SECRET)
    assert caught["outcome"] == "failed"
    assert caught["expected"]
    assert caught["happened"]


def test_over_tls_the_authorities_that_are_named_are_trusted_and_no_others(tmp_path: Path) -> None:
    certificate = tmp_path / "certificate.pem"
    with serving(tls=context_of(certificate)) as address:
        assert judged(address, "--secret", SECRET, "--only", "call", "--ca", str(certificate))[0] == 0
        code, checks = judged(address, "--secret", SECRET, "--only", "call")
    assert code == 1
    assert "certificate" in checks["call"]["happened"].lower()


def test_a_file_without_authorities_is_said_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "empty.pem").touch()
    ran = run("https://127.0.0.1/", "--ca", str(tmp_path / "empty.pem"))
    assert ran.returncode == 2
    assert ran.stderr.startswith(f"hmsactd: --ca: {tmp_path / 'empty.pem'} can't be used: ")


def context_of(path: Path) -> ssl.SSLContext:
    """A server's side of TLS with a certificate that vouches for itself; it is written to the path."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now - timedelta(hours=1), now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    own = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(own + certificate.public_bytes(Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


def test_without_a_secret_signatures_are_not_checked_and_that_is_said() -> None:
    with serving(is_signed=False) as address:
        code, checks = judged(address)
    assert {name for name, check in checks.items() if check["outcome"] == "not_run"} == SIGNATURES
    assert code == 0


def test_an_endpoint_that_is_not_there_fails_every_check() -> None:
    with nobody_at() as place:
        code, checks = judged(f"http://{place}/steps")
    assert {check["outcome"] for name, check in checks.items() if name not in SIGNATURES} == {"failed"}
    assert "there was none" in checks["call"]["happened"]
    assert code == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "say what is to be checked"),
        (("https://one.example", "https://other.example"), "say what is to be checked"),
        (("irs.example:7400",), "irs.example:7400 is not the address of a service"),
        (("http://irs.example/steps",), "over a network it must be https"),
        (("https://irs.example/steps", "--secret", "é"), "the secret is not one of Standard Webhooks"),
        (("https://irs.example/steps", "--only", "drain"), "there is no check called drain"),
    ],
)
def test_wrong_usage_is_said_in_a_line(arguments: tuple[str, ...], said: str) -> None:
    ran = run(*arguments)
    assert (ran.returncode, ran.stdout) == (2, "")
    (line,) = ran.stderr.splitlines()
    assert line.startswith("hmsactd: ")
    assert said in line
