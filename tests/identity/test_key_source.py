"""Keys are read again when they change, asked for when they are new, and never so often that an issuer would notice."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from structlog.testing import capture_logs

from hmsactd.identity.key_set import BadKeySet
from hmsactd.identity.key_source import (
    ASKED_AGAIN_S,
    USED_WITHOUT_ANSWER_S,
    WAITING_MAX,
    FetchedKeys,
    FetchFailed,
    FileKeys,
)
from tests.identity.issuing import EC, RSA, URL, key_set

KEYS = f"{URL}/keys"
DESCRIBED = f"{URL}/.well-known/openid-configuration"


class Site:
    """An issuer's site, and the time."""

    def __init__(self) -> None:
        self.pages: dict[str, bytes] = {KEYS: key_set(EC)}
        self.asked: list[str] = []
        self.passed = 0.0
        self.is_open = anyio.Event()
        self.is_open.set()

    async def fetch(self, address: str) -> bytes:
        self.asked.append(address)
        await self.is_open.wait()
        if address not in self.pages:
            raise FetchFailed("404")
        return self.pages[address]

    @asynccontextmanager
    async def keys(self, address: str | None = KEYS) -> AsyncIterator[FetchedKeys]:
        """Keys that are asked for meanwhile, as in a daemon; they have been once, unless the site is shut."""
        keys = FetchedKeys(URL, address, self.fetch, lambda: round(self.passed * 1e6))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(keys.run)
            if self.is_open.is_set():
                await keys.refresh()
            yield keys
            tasks.cancel_scope.cancel()


def knows(keys: FetchedKeys | FileKeys, kid: str, algorithm: str = "ES256") -> bool:
    return keys.current.find(kid, algorithm) is not None


async def test_a_new_key_is_there_after_asking() -> None:
    site = Site()
    async with site.keys() as keys:
        assert knows(keys, "ec")
        site.pages[KEYS] = key_set(RSA)
        await keys.refresh()
        assert not knows(keys, "rsa", "RS256"), "it was asked just now"
        site.passed += ASKED_AGAIN_S
        await keys.refresh()
        assert knows(keys, "rsa", "RS256")
        assert not knows(keys, "ec"), "what the issuer has taken back is no key any more"


async def test_keys_are_the_same_object_while_they_are_the_same() -> None:
    site = Site()
    async with site.keys() as keys:
        before = keys.current
        site.passed += ASKED_AGAIN_S
        await keys.refresh()
        assert len(site.asked) == 2
        assert keys.current is before


async def test_made_up_keys_do_not_make_us_flood_the_issuer_nor_keep_whoever_brings_them() -> None:
    site = Site()
    site.is_open = anyio.Event()
    ended = 0

    async def bring() -> None:
        nonlocal ended
        await keys.refresh()
        ended += 1

    async with site.keys() as keys, anyio.create_task_group() as tasks:
        for _ in range(WAITING_MAX + 500):
            tasks.start_soon(bring)
        await anyio.wait_all_tasks_blocked()
        assert ended == 500, "no more wait for an issuer that does not answer than there is a bound for"
        site.is_open.set()
    assert ended == WAITING_MAX + 500
    assert site.asked == [KEYS]


async def test_who_gives_up_waiting_does_not_take_the_answer_from_others() -> None:
    site = Site()
    site.is_open = anyio.Event()
    async with site.keys() as keys, anyio.create_task_group() as tasks:
        tasks.start_soon(keys.refresh)
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    site = Site()
    async with site.keys() as keys:
        site.pages[KEYS] = key_set(RSA)
        site.passed += ASKED_AGAIN_S
        site.is_open = anyio.Event()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(keys.refresh)
            await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()
        site.is_open.set()
        await keys.refresh()
        assert knows(keys, "rsa", "RS256")


async def test_while_the_issuer_is_down_its_keys_go_on_for_a_day() -> None:
    site = Site()
    async with site.keys() as keys:
        with capture_logs() as logged:
            for broken in ({}, {KEYS: b"<html>"}, {KEYS: b'{"keys": []}'}, {KEYS: b"[" * 200_000}):
                site.pages = dict(broken)
                site.passed += ASKED_AGAIN_S
                await keys.refresh()
                assert knows(keys, "ec")
        assert [line["error"] for line in logged] == ["404"], "it is said once"
        site.passed = USED_WITHOUT_ANSWER_S + 1
        assert not knows(keys, "ec")


async def test_the_address_is_found_by_discovery_also_when_it_has_moved() -> None:
    site = Site()
    site.pages[DESCRIBED] = json.dumps({"issuer": URL, "jwks_uri": KEYS}).encode()
    async with site.keys(None) as keys:
        assert knows(keys, "ec")
        assert site.asked == [DESCRIBED, KEYS]
        site.pages = {f"{KEYS}/2": key_set(RSA)}
        site.pages[DESCRIBED] = json.dumps({"issuer": URL, "jwks_uri": f"{KEYS}/2"}).encode()
        site.passed += ASKED_AGAIN_S
        await keys.refresh()
        assert knows(keys, "rsa", "RS256")


@pytest.mark.parametrize(
    "described",
    [
        b"",
        b"[]",
        b"{}",
        b"[" * 200_000,
        b'{"issuer": "https://other", "jwks_uri": "https://other/keys"}',
        f'{{"issuer": "{URL}"}}'.encode(),
        *(
            f'{{"issuer": "{URL}", "jwks_uri": "{address}"}}'.encode()
            for address in ("http://idp.fsa.gov/keys", "file:///etc/passwd", "https://a@b/keys", "https://[", "")
        ),
    ],
)
async def test_a_description_that_is_anothers_or_leads_astray_is_not_believed(described: bytes) -> None:
    site = Site()
    site.pages[DESCRIBED] = described
    async with site.keys(None) as keys:
        assert not len(keys.current)
        assert site.asked == [DESCRIBED]


async def test_a_file_is_read_again_when_it_has_changed(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    with pytest.raises(BadKeySet):
        FileKeys(path).load()
    path.write_bytes(key_set(EC))
    keys = FileKeys(path)
    keys.load()
    assert knows(keys, "ec")
    path.write_bytes(key_set(RSA))
    await keys.refresh()
    assert knows(keys, "rsa", "RS256")
    path.write_text("broken")
    with capture_logs() as logged:
        for _ in range(100):
            await keys.refresh()
    assert knows(keys, "rsa", "RS256")
    assert len(logged) == 1, "whoever makes up keys fills no log"
