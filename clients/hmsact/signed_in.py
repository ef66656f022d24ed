"""Who has signed in at this machine with `hmsact login`: a token for each daemon, renewed by itself, and for no other.

The file is `$HMSACT_SIGNED_IN`, else `signed_in.json` in the user's configuration; only its owner can read it.
"""

from __future__ import annotations

import json
import os
import secrets
import stat
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from hmsact.errors import PreconditionFailed, Unauthenticated

if TYPE_CHECKING:
    from hmsact.provider import Tokens

RENEWED_BEFORE_S: Final = 30.0
"""A token that ends sooner is renewed first: it is to last for the command."""


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A sign-in: where, as which client, and what came of it. Times are seconds since the epoch."""

    issuer: str
    client: str
    scope: str
    resource: str | None
    ca_file: str | None
    access: str
    expires_at: float
    refresh: str | None

    def with_tokens(self, tokens: Tokens) -> SignedIn:
        """The same with newer tokens; a provider that gives no new one to renew with lets the old one go on."""
        return replace(self, access=tokens.access, expires_at=tokens.expires_at, refresh=tokens.refresh or self.refresh)


class SignIns:
    """All of the user's, by the daemon's address."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def of_user(cls, environment: Mapping[str, str] = os.environ) -> SignIns:
        """Returns those of whoever runs this."""
        if told := environment.get("HMSACT_SIGNED_IN"):
            return cls(Path(told))
        home = environment.get("XDG_CONFIG_HOME")
        return cls((Path(home) if home else Path.home() / ".config") / "hmsact" / "signed_in.json")

    def at(self, address: str) -> SignedIn | None:
        """Returns the sign-in at a daemon. Raises PreconditionFailed if the file is no use, or others can read it."""
        return self._read().get(address)

    def token_for(self, address: str) -> str | None:
        """Returns a token that lasts, None if nobody has signed in there; raises Unauthenticated if it is over."""
        found = self.at(address)
        if found is None or found.expires_at - RENEWED_BEFORE_S > time.time():
            return found.access if found is not None else None
        return self._renewed(address, found).access

    def keep(self, address: str, signed_in: SignedIn | None) -> None:
        """Keeps a sign-in, or with None forgets it."""
        kept = self._read()
        kept.pop(address, None)
        if signed_in is not None:
            kept[address] = signed_in
        self._write(kept)

    def _renewed(self, address: str, found: SignedIn) -> SignedIn:
        # What speaks HTTP is loaded by the few commands that need it.
        from hmsact.provider import Provider

        if found.refresh is None:
            raise _over(address)
        try:
            tokens = Provider(found.issuer, found.client, found.ca_file).renew(found.refresh, found.resource)
        except Unauthenticated as refused:
            # Another command may have renewed it meanwhile: what renews is often good for one time.
            newer = self.at(address)
            if newer is not None and newer.refresh != found.refresh and newer.expires_at > time.time():
                return newer
            raise _over(address) from refused
        renewed = found.with_tokens(tokens)
        self.keep(address, renewed)
        return renewed

    def _read(self) -> dict[str, SignedIn]:
        try:
            with self.path.open("rb") as file:
                mode = os.fstat(file.fileno()).st_mode
                text = file.read()
        except FileNotFoundError:
            return {}
        if os.name == "posix" and stat.S_IMODE(mode) & 0o077:
            raise PreconditionFailed(f"{self.path} can be read by others: chmod 600 {self.path}", reason="OPEN_FILE")
        try:
            return {address: _sign_in(said) for address, said in json.loads(text)["daemons"].items()}
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise PreconditionFailed(
                f"{self.path} is damaged: remove it, and sign in again with `hmsact login`", reason="DAMAGED_FILE"
            ) from error

    def _write(self, kept: Mapping[str, SignedIn]) -> None:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        draft = self.path.with_name(f"{self.path.name}.{secrets.token_hex(4)}")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                json.dump({"daemons": {address: asdict(each) for address, each in kept.items()}}, file, indent=1)
            draft.replace(self.path)
        finally:
            draft.unlink(missing_ok=True)


_TIMES: Final = ("expires_at",)
_OPTIONAL: Final = ("resource", "ca_file", "refresh")


def _sign_in(said: Mapping[str, object]) -> SignedIn:
    for field in fields(SignedIn):
        value = said[field.name]
        kind = (int, float) if field.name in _TIMES else str
        if not (isinstance(value, kind) or (value is None and field.name in _OPTIONAL)):
            raise TypeError(field.name)
    return SignedIn(**said)  # type: ignore[arg-type]  # looked at just now


def _over(address: str) -> Unauthenticated:
    return Unauthenticated(f"your sign-in at {address} is over: sign in again with `hmsact login`", reason="SIGNED_OUT")
