"""Keys are read again when they change, asked for when they are new, and never so often that an issuer would notice."""

from __future__ import annotations

import json
import os
from pathlib import Path

import anyio
import pytest
from structlog.testing import capture_logs

from hmsactd.identity.key_set import BadKeySet
from hmsactd.identity.key_source import ASKED_AGAIN_S, USED_WITHOUT_ANSWER_S, FetchedKeys, FetchFailed, FileKeys
from tests.identity.issuing import EC, RSA, URL, key_set

KEYS = f"{URL}/keys"
DESCRIBED = f"{URL}/.well-known/openid-configuration"


class Site:
    """An issuer's site, and the time."""

    def __init__(self) -> None:
        self.pages: dict[str, bytes] = {KEYS: key_set(EC)}
        self.asked: list[str] = []
        self.passed = 0.0

    async def fetch(self, address: str) -> bytes:
        self.asked.append(address)
        if address not in self.pages:
            raise FetchFailed("404")
        return self.pages[address]

    def keys(self, address: str | None = KEYS) -> FetchedKeys:
        return FetchedKeys(URL, address, self.fetch, lambda: round(self.passed * 1e6))


async def test_a_new_key_is_there_after_asking() -> None:
    site = Site()
    keys = site.keys()
    assert keys.find("ec", "ES256") is None
    await keys.refresh()
    assert keys.find("ec", "ES256") is not None
    site.pages[KEYS] = key_set(RSA)
    site.passed += ASKED_AGAIN_S
    await keys.refresh()
    assert keys.find("rsa", "RS256") is not None
    assert keys.find("ec", "ES256") is None, "what the issuer has taken back is no key any more"


async def test_made_up_keys_do_not_make_us_flood_the_issuer() -> None:
    site = Site()
    keys = site.keys()
    async with anyio.create_task_group() as tasks:
        for _ in range(1000):
            tasks.start_soon(keys.refresh)
    assert site.asked == [KEYS]


async def test_while_the_issuer_is_down_its_keys_go_on_for_a_day() -> None:
    site = Site()
    keys = site.keys()
    await keys.refresh()
    with capture_logs() as logged:
        for broken in ({}, {KEYS: b"<html>"}, {KEYS: b'{"keys": []}'}):
            site.pages = dict(broken)
            site.passed += ASKED_AGAIN_S
            await keys.refresh()
            assert keys.find("ec", "ES256") is not None
    assert [line["error"] for line in logged] == ["404"], "it is said once"
    site.passed = USED_WITHOUT_ANSWER_S + 1
    assert keys.find("ec", "ES256") is None


async def test_the_address_is_found_by_discovery() -> None:
    site = Site()
    site.pages[DESCRIBED] = json.dumps({"issuer": URL, "jwks_uri": KEYS}).encode()
    keys = site.keys(None)
    await keys.refresh()
    assert keys.find("ec", "ES256") is not None
    assert site.asked == [DESCRIBED, KEYS]


@pytest.mark.parametrize(
    "described", [b"", b"[]", b"{}", b'{"issuer": "https://other", "jwks_uri": "x"}', f'{{"issuer": "{URL}"}}'.encode()]
)
async def test_a_description_of_another_issuer_is_not_believed(described: bytes) -> None:
    site = Site()
    site.pages[DESCRIBED] = described
    keys = site.keys(None)
    await keys.refresh()
    assert keys.find("ec", "ES256") is None
    assert site.asked == [DESCRIBED]


async def test_a_file_is_read_again_when_it_has_changed(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    with pytest.raises(BadKeySet):
        FileKeys(path).load()
    path.write_bytes(key_set(EC))
    keys = FileKeys(path)
    keys.load()
    assert keys.find("ec", "ES256") is not None
    path.write_bytes(key_set(RSA))
    os.utime(path, (1, 1))
    await keys.refresh()
    assert keys.find("rsa", "RS256") is not None
    path.write_text("broken")
    await keys.refresh()
    assert keys.find("rsa", "RS256") is not None
