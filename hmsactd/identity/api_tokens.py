"""The file of API tokens in a data directory: the command line writes it, a running daemon sees what has changed.

Beside the database, because that has one writer, the daemon, and tokens are made and revoked also while it is down.
"""

from __future__ import annotations

import fcntl
import json
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final, TypeVar

from hmsactd.identity.api_token import ApiToken

FILE: Final = "tokens.json"
LOCK_FILE: Final = "tokens.lock"
TOKENS_MAX: Final = 10_000

T = TypeVar("T")


class TokensRefused(Exception):
    """Raised when the file can't be used, or what is asked of it can't be done."""


class TokenFile:
    """All tokens ever made, revoked and expired ones, too: who they stood for is asked for years."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / FILE
        self._seen: tuple[int, int, int] | None = None
        self._by_digest: dict[str, ApiToken] = {}

    def find(self, digest: str) -> ApiToken | None:
        """The token of a digest, as it was when the file was looked at last."""
        return self._by_digest.get(digest)

    def look(self) -> bool:
        """Reads the file if it has changed; True if it had. Raises TokensRefused."""
        try:
            about = self._path.stat()
        except FileNotFoundError:
            changed, self._seen, self._by_digest = self._seen is not None, None, {}
            return changed
        except OSError as error:
            raise TokensRefused(f"{self._path} can't be read: {error.strerror}") from error
        seen = about.st_mtime_ns, about.st_ino, about.st_size
        if seen == self._seen:
            return False
        self._by_digest = {token.digest: token for token in self.tokens()}
        self._seen = seen
        return True

    def tokens(self) -> list[ApiToken]:
        """All of them, the oldest first; raises TokensRefused."""
        try:
            mode = self._path.stat().st_mode
            text = self._path.read_text("utf-8")
        except FileNotFoundError:
            return []
        except (OSError, UnicodeDecodeError) as error:
            raise TokensRefused(f"{self._path} can't be read: {error}") from error
        if stat.S_IMODE(mode) & 0o077:
            raise TokensRefused(f"{self._path} can be read by others: chmod 600 {self._path}")
        try:
            return [_token(said) for said in json.loads(text)["tokens"]]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise TokensRefused(f"{self._path} is damaged: restore it, or move it away, and make new tokens") from error

    def add(self, token: ApiToken) -> None:
        """Keeps another one."""

        def added(tokens: list[ApiToken]) -> tuple[list[ApiToken], None]:
            if len(tokens) >= TOKENS_MAX:
                raise TokensRefused(f"there are {TOKENS_MAX} tokens, the most that are kept")
            return [*tokens, token], None

        self._change(added)

    def revoke(self, id: str, at: int) -> ApiToken:  # noqa: A002 -- the word of ApiToken.id
        """Ends a token now; raises TokensRefused if there is none of that id. A second time changes nothing."""

        def revoked(tokens: list[ApiToken]) -> tuple[list[ApiToken], ApiToken]:
            found = next((token for token in tokens if token.id == id), None)
            if found is None:
                raise TokensRefused(f"there is no token {id}: `hmsactd token list` shows them")
            ended = found if found.revoked_at is not None else replace(found, revoked_at=at)
            return [ended if token.id == id else token for token in tokens], ended

        return self._change(revoked)

    def _change(self, change: Callable[[list[ApiToken]], tuple[list[ApiToken], T]]) -> T:
        try:
            with _held(self._path.with_name(LOCK_FILE)):
                tokens, result = change(self.tokens())
                _replace(self._path, json.dumps({"tokens": [asdict(token) for token in tokens]}, indent=1) + "\n")
        except OSError as error:
            raise TokensRefused(f"{self._path} can't be written: {error.strerror}") from error
        return result


def _token(said: dict[str, Any]) -> ApiToken:
    """Raises TypeError for what would only be found out when somebody shows the token."""
    token = ApiToken(**said)
    words = (token.id, token.principal, token.digest, token.note)
    times = (token.created_at, token.expires_at, token.revoked_at or 0)
    if not all(isinstance(word, str) for word in words) or not all(type(time) is int for time in times):
        raise TypeError
    return token


@contextmanager
def _held(path: Path) -> Iterator[None]:
    """One writer at a time. The lock goes with the process."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        _give_to_the_owner(descriptor, path.parent)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _replace(path: Path, text: str) -> None:
    """Puts a file in the place of another, so that whatever happens one of the two is there, whole."""
    draft = path.with_name(path.name + ".new")
    # What a writer that was killed has left, or a link that somebody has laid there, is not written into.
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            _give_to_the_owner(descriptor, path.parent)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _give_to_the_owner(descriptor: int, directory: Path) -> None:
    """What root makes in the daemon's directory is the daemon's: it could not read it otherwise, nor start again."""
    about = directory.stat()
    if os.geteuid() == 0 and os.fstat(descriptor).st_uid != about.st_uid:
        os.fchown(descriptor, about.st_uid, about.st_gid)
