"""What a deferred step is completed with: a token that names one attempt, and that only the daemon can make.

It holds no secret and nothing of it is kept, so that it is as good after a restart, and for as long as the operation
is there. It does not say who may use it: whoever completes a step must be entitled to do it, too.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from typing import NamedTuple

from hmsactd.engine.session import AttemptKey

PREFIX = "done_"
"""By which people tell a token from an id."""

CODE_BYTES = 16

TOKEN_MAX = 512
"""Longer than any token that we make, whose longest part is the names of a namespace and a service."""


class Attempted(NamedTuple):
    """What a token stands for: an attempt, and the service that the step is done by."""

    namespace: str
    svc: str
    key: AttemptKey


class Tokens:
    """Makes and reads completion tokens with a key of the daemon's own."""

    def __init__(self, key: bytes) -> None:
        # Not the key itself: it serves other ends, too.
        self._key = hmac.digest(key, b"hmsactd completion token", hashlib.sha256)

    def token_of(self, namespace: str, svc: str, key: AttemptKey) -> str:
        """The token of an attempt."""
        said = f"{namespace}\n{svc}\n{key.operation_id}\n{key.instance}\n{key.attempt}".encode()
        return PREFIX + base64.urlsafe_b64encode(self._code(said) + said).rstrip(b"=").decode()

    def read(self, token: str) -> Attempted | None:
        """What a token stands for; None if it is not one that we have made, whole and unchanged."""
        text = token.removeprefix(PREFIX)
        if text == token or len(token) > TOKEN_MAX:
            return None
        try:
            raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            return None
        code, said = raw[:CODE_BYTES], raw[CODE_BYTES:]
        if not hmac.compare_digest(code, self._code(said)):
            return None
        namespace, svc, operation_id, instance, attempt = said.decode().split("\n")
        return Attempted(namespace, svc, AttemptKey(operation_id, int(instance), int(attempt)))

    def _code(self, said: bytes) -> bytes:
        return hmac.digest(self._key, said, hashlib.sha256)[:CODE_BYTES]
