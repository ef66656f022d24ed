"""Where the keys of an issuer come from: a file, or the issuer itself, asked now and then, and when a key is new."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import anyio

from hmsactd import logs
from hmsactd.identity.address import is_safe
from hmsactd.identity.key_set import BadKeySet, KeySet, parse

ASKED_EVERY_S: Final = 600.0
"""How long keys are used before the issuer is asked again."""

ASKED_AGAIN_S: Final = 15.0
"""How soon the issuer is asked again at most: tokens with made-up keys must not make us flood it."""

USED_WITHOUT_ANSWER_S: Final = 24 * 3600.0
"""How long keys are used while the issuer does not answer. Whoever was signed in stays so while it is down."""

FILE_LOOKED_AT_EVERY_S: Final = 5.0

WAITING_MAX: Final = 1_000
"""Callers that wait for an issuer's answer at a time. Whoever comes beyond them is refused at once."""

NO_KEYS: Final = KeySet()

log = logs.logger(__name__)

Fetch = Callable[[str], Awaitable[bytes]]
"""Gets what is at an address; raises FetchFailed."""


class FetchFailed(Exception):
    """Raised when an issuer gives no usable answer."""


class FileKeys:
    """Keys in a file, read again when it has changed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self._failed: str | None = None
        self._keys = KeySet()

    @property
    def current(self) -> KeySet:
        """The keys as they are by now; another object when they are others."""
        return self._keys

    def load(self) -> None:
        """Reads the file if it is another one; raises BadKeySet."""
        try:
            about = self._path.stat()
            seen = about.st_mtime_ns, about.st_ino, about.st_size
            if seen == self._seen:
                return
            text = self._path.read_bytes()
        except OSError as error:
            raise BadKeySet(f"can't be read: {error.strerror}") from error
        # Also of one that is no use: it need not be read again before it has changed.
        self._seen = seen
        self._keys = parse(text)
        log.info("the keys of an issuer were read", file=str(self._path), keys=len(self._keys))

    async def refresh(self) -> None:
        """Reads the file if it has changed, also for one that is no use, which is read once and no more."""
        self.look()

    async def run(self) -> None:
        """Looks now and then, for ever; keeps the keys there are while the file is no use."""
        while True:
            await anyio.sleep(FILE_LOOKED_AT_EVERY_S)
            self.look()

    def look(self) -> None:
        """Reads the file if it has changed. What is wrong with it is said once."""
        try:
            self.load()
        except BadKeySet as error:
            if str(error) != self._failed:
                log.error(
                    "the keys of an issuer can't be read: those read before stay",
                    file=str(self._path),
                    error=str(error),
                )
            self._failed = str(error)
        else:
            self._failed = None


class FetchedKeys:
    """Keys that the issuer publishes at an address, which its discovery document says if the settings don't.

    Only `run` asks: a caller who gives up while the issuer is asked would else take the answer from everybody.
    """

    def __init__(self, issuer: str, address: str | None, fetch: Fetch, passed_us: Callable[[], int]) -> None:
        self._issuer = issuer
        self._address = address
        self._fetch = fetch
        self._passed_us = passed_us
        self._text = b""
        self._keys = KeySet()
        self._fetched_us: int | None = None
        self._asked_us: int | None = None
        self._is_asking = False
        self._is_failing = False
        self._waiting = 0
        self._wanted = anyio.Event()
        self._answered = anyio.Event()

    @property
    def current(self) -> KeySet:
        """The keys as they are by now; another object when they are others. None in it if the issuer is long gone."""
        if self._fetched_us is None or self._since(self._fetched_us) > USED_WITHOUT_ANSWER_S:
            return NO_KEYS
        return self._keys

    async def refresh(self) -> None:
        """Has the issuer asked, unless that was done just now, and waits for its answer."""
        if not self._is_asking:
            if self._asked_us is not None and self._since(self._asked_us) < ASKED_AGAIN_S:
                return
            self._wanted.set()
        if self._waiting >= WAITING_MAX:
            return
        self._waiting += 1
        try:
            await self._answered.wait()
        finally:
            self._waiting -= 1

    async def run(self) -> None:
        """Asks now and then, and when somebody wants it, for ever."""
        while True:
            await self._ask()
            with anyio.move_on_after(ASKED_AGAIN_S if self._is_failing else ASKED_EVERY_S):
                await self._wanted.wait()

    async def _ask(self) -> None:
        self._asked_us, self._is_asking, self._wanted = self._passed_us(), True, anyio.Event()
        try:
            await self._fetch_keys()
        except (FetchFailed, BadKeySet) as error:
            if not self._is_failing:
                log.error("an issuer's keys can't be had", issuer=self._issuer, error=str(error))
            self._is_failing = True
        else:
            if self._is_failing or self._fetched_us is None:
                log.info("an issuer's keys were fetched", issuer=self._issuer, keys=len(self._keys))
            self._fetched_us, self._is_failing = self._passed_us(), False
        finally:
            self._is_asking = False
            self._answered.set()
            self._answered = anyio.Event()

    async def _fetch_keys(self) -> None:
        text = await self._fetch(self._address or await self._discover())
        if text != self._text:
            self._keys, self._text = parse(text), text

    async def _discover(self) -> str:
        """The address of the keys, as the issuer's own description has it (OpenID Connect Discovery 1.0)."""
        described = await self._fetch(self._issuer.rstrip("/") + "/.well-known/openid-configuration")
        try:
            said = json.loads(described)
        except (ValueError, RecursionError) as error:
            raise FetchFailed("its description is not JSON") from error
        if not isinstance(said, dict) or said.get("issuer") != self._issuer:
            # Otherwise one issuer could pass its keys off as another's.
            raise FetchFailed("its description is that of another issuer")
        address = said.get("jwks_uri")
        if not isinstance(address, str) or not is_safe(address):
            # Over plain HTTP anybody on the way could answer with keys of their own.
            raise FetchFailed("its description does not say where its keys are, over https (jwks_uri)")
        return address

    def _since(self, at_us: int) -> float:
        return (self._passed_us() - at_us) / 1e6
