"""Where the keys of an issuer come from: a file, or the issuer itself, asked now and then, and when a key is new."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import anyio
from joserfc.jwk import Key

from hmsactd import logs
from hmsactd.identity.key_set import BadKeySet, KeySet, parse

ASKED_EVERY_S: Final = 600.0
"""How long keys are used before the issuer is asked again."""

ASKED_AGAIN_S: Final = 15.0
"""How soon the issuer is asked again at most: tokens with made-up keys must not make us flood it."""

USED_WITHOUT_ANSWER_S: Final = 24 * 3600.0
"""How long keys are used while the issuer does not answer. Whoever was signed in stays so while it is down."""

log = logs.logger(__name__)

Fetch = Callable[[str], Awaitable[bytes]]
"""Gets what is at an address; raises FetchFailed."""


class FetchFailed(Exception):
    """Raised when an issuer gives no usable answer."""


class FileKeys:
    """Keys in a file, read again when it has changed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int] | None = None
        self._keys = KeySet()

    def load(self) -> None:
        """Reads the file; raises BadKeySet."""
        try:
            about = self._path.stat()
            self._keys = parse(self._path.read_bytes())
        except OSError as error:
            raise BadKeySet(f"can't be read: {error.strerror}") from error
        self._seen = about.st_mtime_ns, about.st_ino

    def find(self, kid: str | None, algorithm: str) -> Key | None:
        """The key of that name, or the only one for the algorithm if none is named."""
        return self._keys.find(kid, algorithm)

    async def refresh(self) -> None:
        """Reads the file if it is another one; keeps the keys there are if it is no use."""
        try:
            about = await anyio.Path(self._path).stat()
            if self._seen != (about.st_mtime_ns, about.st_ino):
                self.load()
                log.info("the keys of an issuer were read again", file=str(self._path), keys=len(self._keys))
        except (OSError, BadKeySet) as error:
            log.error(
                "the keys of an issuer can't be read: those read before stay", file=str(self._path), error=str(error)
            )


class FetchedKeys:
    """Keys that the issuer publishes at an address, which its discovery document says if the settings don't."""

    def __init__(self, issuer: str, address: str | None, fetch: Fetch, passed_us: Callable[[], int]) -> None:
        self._issuer = issuer
        self._address = address
        self._fetch = fetch
        self._passed_us = passed_us
        self._keys = KeySet()
        self._fetched_us: int | None = None
        self._asked_us: int | None = None
        self._asking = anyio.Lock()
        self._is_failing = False

    def find(self, kid: str | None, algorithm: str) -> Key | None:
        """The key of that name, or the only one for the algorithm if none is named."""
        if self._fetched_us is None or self._since(self._fetched_us) > USED_WITHOUT_ANSWER_S:
            return None
        return self._keys.find(kid, algorithm)

    async def refresh(self) -> None:
        """Asks the issuer, unless that was done just now."""
        async with self._asking:
            if self._asked_us is not None and self._since(self._asked_us) < ASKED_AGAIN_S:
                return
            self._asked_us = self._passed_us()
            try:
                self._keys = await self._ask()
            except (FetchFailed, BadKeySet) as error:
                if not self._is_failing:
                    log.error("an issuer's keys can't be had", issuer=self._issuer, error=str(error))
                self._is_failing = True
                return
            if self._is_failing or self._fetched_us is None:
                log.info("an issuer's keys were fetched", issuer=self._issuer, keys=len(self._keys))
            self._fetched_us, self._is_failing = self._passed_us(), False

    async def run(self) -> None:
        """Asks now and then, for ever."""
        while True:
            await self.refresh()
            await anyio.sleep(ASKED_AGAIN_S if self._is_failing else ASKED_EVERY_S)

    async def _ask(self) -> KeySet:
        if self._address is None:
            self._address = await self._discover()
        return parse(await self._fetch(self._address))

    async def _discover(self) -> str:
        """The address of the keys, as the issuer's own description has it (OpenID Connect Discovery 1.0)."""
        described = await self._fetch(self._issuer.rstrip("/") + "/.well-known/openid-configuration")
        try:
            said = json.loads(described)
        except ValueError as error:
            raise FetchFailed("its description is not JSON") from error
        if not isinstance(said, dict) or said.get("issuer") != self._issuer:
            # Otherwise one issuer could pass its keys off as another's.
            raise FetchFailed("its description is that of another issuer")
        address = said.get("jwks_uri")
        if not isinstance(address, str):
            raise FetchFailed("its description does not say where its keys are (jwks_uri)")
        return address

    def _since(self, at_us: int) -> float:
        return (self._passed_us() - at_us) / 1e6
