"""A daemon that fetches the keys of an identity provider over HTTPS: new ones, withdrawn ones, and none for a while."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from hmsact import Orchestrator
from hmsact.errors import HmsactError, Unauthenticated, Unavailable
from joserfc.jwk import ECKey, Key

from tests.e2e.agency import Agency
from tests.identity.issuing import EC, said, token
from tests.identity.provider import DESCRIPTION, KEYS, Provider

NEW = ECKey.generate_key("P-256", {"kid": "new"})
MADE_UP = ECKey.generate_key("P-256", {"kid": "made-up"})


@pytest.fixture
def provider(tmp_path: Path) -> Iterator[Provider]:
    with Provider(tmp_path).serving() as provider:
        provider.publish(EC)
        yield provider


@contextmanager
def trusting(provider: Provider, directory: Path) -> Iterator[Agency]:
    """An agency that believes the provider."""
    office = Agency(directory)
    path = directory / "settings.toml"
    text = path.read_text()
    text = text.replace(f'keys_file = "{directory}/keys.json"', f'ca_file = "{provider.ca_file}"')
    path.write_text(text.replace("https://idp.fsa.gov", provider.url))
    office.start()
    try:
        yield office
    finally:
        office.stop()


def person(office: Agency, provider: Provider, key: Key = EC, subject: str = "7") -> Orchestrator:
    now = int(time.time())
    claims = said(iss=provider.url, sub=subject, roles=["hmsact.viewer"], exp=now + 300, iat=now)
    return office.act(token(claims, key))


def refusal(act: Orchestrator) -> HmsactError:
    with act, pytest.raises(HmsactError) as refused:
        act.whoami()
    return refused.value


def test_keys_are_found_by_discovery_and_followed_when_they_change(provider: Provider, tmp_path: Path) -> None:
    with trusting(provider, tmp_path) as office:
        with person(office, provider) as known, person(office, provider, NEW) as new:
            assert known.whoami().principal.id == f"{provider.url}:7"
            assert provider.asked == [DESCRIPTION, KEYS]
            provider.publish(NEW)
            deadline = time.monotonic() + 30
            while True:
                try:
                    new.whoami()
                    break
                except Unauthenticated:
                    assert time.monotonic() < deadline, "a new key is asked for"
            assert provider.asked == [DESCRIPTION, KEYS] * 2, "not again before 15 s are over"
        assert refusal(person(office, provider)).reason == "TOKEN_KEY_UNKNOWN"
        log = (tmp_path / "log").read_text()
    assert "Traceback" not in log
    assert "eyJ" not in log


def test_a_provider_that_hangs_holds_up_nobody_else_and_is_said_to_be_at_fault(
    provider: Provider, tmp_path: Path
) -> None:
    provider.pages[KEYS] = provider.drip
    with trusting(provider, tmp_path) as office, office.workload("spiffe://agency.gov/irs") as irs:
        with ThreadPoolExecutor(32) as callers, person(office, provider, MADE_UP) as stranger:
            flood = [callers.submit(stranger.whoami) for _ in range(200)]
            for _ in range(50):
                began = time.monotonic()
                irs.whoami()
                assert time.monotonic() - began < 2
            failures = [call.exception(60) for call in flood]
        assert {type(failure) for failure in failures} == {Unavailable}
        assert {getattr(failure, "reason", "") for failure in failures} == {"ISSUER_UNAVAILABLE"}
        assert provider.asked.count(KEYS) <= 3


def test_a_description_that_leads_to_plain_http_is_not_followed(provider: Provider, tmp_path: Path) -> None:
    provider.pages[DESCRIPTION] = json.dumps({"issuer": provider.url, "jwks_uri": "http://idp.example/keys"}).encode()
    with trusting(provider, tmp_path) as office:
        assert refusal(person(office, provider)).reason == "ISSUER_UNAVAILABLE"
        assert "over https" in (tmp_path / "log").read_text()
    assert provider.asked == [DESCRIPTION]
