"""What an issuer publishes is fetched over TLS from nowhere else, and not for longer than anybody waits."""

from __future__ import annotations

import gzip
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from hmsactd.identity import fetch as module
from hmsactd.identity.fetch import fetching
from hmsactd.identity.key_set import KEY_SET_MAX_BYTES
from hmsactd.identity.key_source import FetchFailed
from tests.identity.authority import Authority
from tests.identity.issuing import EC, key_set
from tests.identity.provider import KEYS, Provider


@pytest.fixture
def provider(tmp_path: Path) -> Iterator[Provider]:
    with Provider(tmp_path).serving() as provider:
        provider.publish(EC)
        yield provider


async def refusal(provider: Provider, ca_file: Path | None = None) -> str:
    with pytest.raises(FetchFailed) as failed:
        await fetching(ca_file or provider.ca_file)(provider.site + KEYS)
    return str(failed.value)


async def test_a_page_is_fetched_over_tls(provider: Provider) -> None:
    assert await fetching(provider.ca_file)(provider.site + KEYS) == key_set(EC)


async def test_a_site_of_another_authority_is_not_believed(provider: Provider, tmp_path: Path) -> None:
    (tmp_path / "other.pem").write_bytes(Authority("other").pem)
    assert "CERTIFICATE_VERIFY_FAILED" in await refusal(provider, tmp_path / "other.pem")
    assert provider.asked == []


async def test_a_certificate_for_another_host_is_not_believed(provider: Provider) -> None:
    with pytest.raises(FetchFailed):
        await fetching(provider.ca_file)(provider.site.replace("localhost", "127.0.0.1") + KEYS)
    assert provider.asked == []


async def test_nobody_is_followed_elsewhere(provider: Provider) -> None:
    provider.pages[KEYS] = provider.redirect
    assert "answers 302" in await refusal(provider)
    assert provider.asked == [KEYS]


async def test_what_has_no_end_is_left_at_the_bound(provider: Provider) -> None:
    provider.pages[KEYS] = provider.flood
    assert f"more than {KEY_SET_MAX_BYTES}" in await refusal(provider)


async def test_what_is_packed_is_not_unpacked(provider: Provider) -> None:
    """A few hundred kilobytes of gzip are as many megabytes when unpacked."""
    packed = gzip.compress(bytes(64 * 1024 * 1024))
    assert len(packed) < KEY_SET_MAX_BYTES

    def send(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("content-encoding", "gzip")
        request.send_header("content-length", str(len(packed)))
        request.end_headers()
        request.wfile.write(packed)

    provider.pages[KEYS] = send
    assert await fetching(provider.ca_file)(provider.site + KEYS) == packed


@pytest.mark.parametrize("how", ["hang", "drip"])
async def test_an_answer_that_never_ends_is_not_waited_for(
    provider: Provider, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PATIENCE_S", 1.0)
    provider.pages[KEYS] = getattr(provider, how)
    began = time.monotonic()
    assert "has not answered within 1 s" in await refusal(provider)
    assert time.monotonic() - began < 5


async def test_nobody_there_is_told_as_such(provider: Provider) -> None:
    with pytest.raises(FetchFailed):
        await fetching(provider.ca_file)("https://localhost:1/keys")
