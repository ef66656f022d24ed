"""The checks of a StepService let a correct one pass, and catch every fault."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest

from hmsactd.conformance.service import GRPC_CHECKS as CHECKS
from tests.conformance.bare_grpc_service import FAULTS, serving
from tests.conformance.play import nobody_at, said_of_service
from tests.conformance.test_page import ANCHORS, TEXT
from tests.conformance.test_service import judged
from tests.services.certificates import Authority, Issued

CAUGHT_BY = {
    "wraps_the_output": "call",
    "says_what_is_not_json": "call",
    "says_nothing": "call",
    "takes_little": "large",
    "dies_of_unknown_fields": "unknown",
    "calls_every_failure_permanent": "retry",
    "calls_no_failure_permanent": "permanent",
    "loses_codes": "retry",
    "does_every_step": "step",
    "ignores_the_key": "key",
    "looks_twice_at_a_time": "twin",
    "goes_by_the_attempt": "attempt",
    "defers_with_done": "later",
    "waits_for_ever_once_hung_up_on": "hang_up",
    "says_it_does_not_serve": "health",
    "lets_in_strangers": "stranger",
}


@contextmanager
def serving_tls(directory: Path, fault: str = "") -> Iterator[tuple[str, Authority, Issued]]:
    """A server that asks for the daemon's certificate: its address, the authority, and that certificate."""
    authority = Authority(directory)
    theirs, ours = authority.issue("agency"), authority.issue("hmsactd")
    pairs = [(theirs.key.read_bytes(), theirs.certificate.read_bytes())]
    asks = fault != "lets_in_strangers"
    shown = grpc.ssl_server_credentials(pairs, authority.file.read_bytes() if asks else None, asks)
    with serving(fault, shown) as address:
        yield address, authority, ours


def options(authority: Authority, ours: Issued) -> tuple[str, ...]:
    return "--ca", str(authority.file), "--certificate", str(ours.certificate), "--key", str(ours.key)


def test_every_check_and_every_fault_has_its_counterpart() -> None:
    assert set(CAUGHT_BY) == set(FAULTS)
    assert set(CAUGHT_BY.values()) == {check.name for check in CHECKS}


def test_the_page_lists_every_check_and_has_what_each_leads_to() -> None:
    _, _, listed = TEXT.partition("hmsactd conformance grpcs://")
    assert [check.name for check in CHECKS if f"| `{check.name}` |" not in listed] == []
    assert [check.read for check in CHECKS if check.section not in ANCHORS] == []


def test_a_correct_server_passes(tmp_path: Path) -> None:
    with serving_tls(tmp_path) as (address, authority, ours):
        code, checks = judged(address, *options(authority, ours))
    assert [check for check in checks.values() if check["outcome"] != "passed"] == []
    assert len(checks) == len(CHECKS)
    assert code == 0


@pytest.mark.parametrize(("fault", "check"), CAUGHT_BY.items())
def test_a_server_with_a_fault_is_caught(fault: str, check: str, tmp_path: Path) -> None:
    with serving_tls(tmp_path, fault) as (address, authority, ours):
        caught = said_of_service(check, address, None, authority.file, ours.certificate, ours.key)
    assert caught["outcome"] == "failed"
    assert caught["expected"]
    assert caught["happened"]
    assert caught["read"].startswith("docs/implementing.md#")


def test_in_the_clear_strangers_are_not_checked_and_that_is_said() -> None:
    with serving() as address:
        code, checks = judged(address)
    assert {name for name, check in checks.items() if check["outcome"] == "not_run"} == {"stranger"}
    assert "--certificate" in checks["stranger"]["happened"]
    assert code == 0


def test_a_server_that_knows_no_health_checks_passes() -> None:
    with serving(knows_health=False) as address:
        code, checks = judged(address, "--only", "health")
    assert checks["health"]["outcome"] == "passed"
    assert code == 0


def test_a_server_of_another_authority_is_not_trusted(tmp_path: Path) -> None:
    with serving_tls(tmp_path) as (address, _, ours):
        other = Authority(tmp_path, "other")
        check = said_of_service("call", address, None, other.file, ours.certificate, ours.key)
    assert check["outcome"] == "failed"
    assert "UNAVAILABLE" in check["happened"]


def test_a_server_that_is_not_there_fails_every_check() -> None:
    # Two further ones ask again and again, which would take its time.
    names = {check.name for check in CHECKS} - {"stranger", "twin", "hang_up"}
    with nobody_at() as place:
        code, checks = judged(f"grpc://{place}", *(word for name in names for word in ("--only", name)))
    assert {name for name, check in checks.items() if check["outcome"] == "failed"} == names
    assert "UNAVAILABLE" in checks["call"]["happened"]
    assert code == 1
