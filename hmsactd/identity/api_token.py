"""API tokens of workloads: what they look like, and what is kept of them. The token itself is kept nowhere."""

from __future__ import annotations

import hashlib
import re
import secrets
import zlib
from dataclasses import dataclass
from typing import Final

from hmsactd.clock import real_time

PREFIX: Final = "hmsact_"
"""By which a token is known for what it is wherever it turns up: scanners of repositories look for such prefixes."""

SHAPE: Final = re.compile(r"hmsact_([0-9A-Za-z]{43})([0-9A-Za-z]{6})")
LETTERS: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
DAY_US: Final = 86_400_000_000
SECRET_LETTERS: Final = 43
"""62 to the 43 is more than 2 to the 256."""


@dataclass(frozen=True, slots=True)
class ApiToken:
    """What is kept of a token. Times are microseconds since the epoch."""

    id: str
    principal: str
    """Whom it stands for, a name of [identity.workloads]."""
    digest: str
    """SHA-256 of the token, hexadecimal. A token has the entropy of a key, so that a slow hash would add nothing."""
    created_at: int
    expires_at: int
    revoked_at: int | None = None
    note: str = ""

    def is_valid(self, now: int) -> bool:
        """True if whoever shows it now is let in."""
        return self.revoked_at is None and now < self.expires_at


def make_token() -> str:
    """A new token: a prefix, chance, and a checksum by which a typing error is told from a guess."""
    secret = "".join(secrets.choice(LETTERS) for _ in range(SECRET_LETTERS))
    return f"{PREFIX}{secret}{_checksum(secret)}"


def fresh(principal: str, days: int, note: str = "") -> tuple[str, ApiToken]:
    """A new token for a workload, and what is kept of it."""
    text, now = make_token(), real_time()
    # By its id people speak of it: short, and nothing of the token itself.
    made = ApiToken(f"tok_{secrets.token_hex(6)}", principal, digest_of(text), now, now + days * DAY_US, None, note)
    return text, made


def standing(token: ApiToken) -> str:
    """How it stands now: "good", "revoked" or "expired"."""
    if token.revoked_at is not None:
        return "revoked"
    return "good" if token.is_valid(real_time()) else "expired"


def is_token(said: str) -> bool:
    """True for what could be a token of ours: nothing is looked up for what isn't."""
    found = SHAPE.fullmatch(said)
    return found is not None and secrets.compare_digest(found[2], _checksum(found[1]))


def digest_of(token: str) -> str:
    """By what a token is found again."""
    return hashlib.sha256(token.encode()).hexdigest()


def _checksum(secret: str) -> str:
    number = zlib.crc32(secret.encode())
    letters = []
    for _ in range(6):
        number, digit = divmod(number, len(LETTERS))
        letters.append(LETTERS[digit])
    return "".join(reversed(letters))
