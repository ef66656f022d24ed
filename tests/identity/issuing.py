"""An identity provider in the hands of a test: it signs whatever it is told to."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Any

from joserfc import jws
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey

from hmsactd.identity.access_token import _Registry
from hmsactd.identity.key_set import KeySet, parse

URL = "https://idp.fsa.gov"
AUDIENCE = "hmsactd"
NOW = 1_790_000_000
EC = ECKey.generate_key("P-256", {"kid": "ec"})
RSA = RSAKey.generate_key(2048, {"kid": "rsa"})
ED = OKPKey.generate_key("Ed25519", {"kid": "ed"})
STRANGER = ECKey.generate_key("P-256", {"kid": "ec"})


def key_set(*keys: Key) -> bytes:
    return json.dumps({"keys": [key.as_dict(private=False) for key in keys]}).encode()


class Kept:
    """Keys that stay as they are."""

    def __init__(self, *keys: Key) -> None:
        self.current: KeySet = parse(key_set(*(keys or (EC, RSA, ED))))
        self.asked = 0

    async def refresh(self) -> None:
        self.asked += 1


def said(**changed: Any) -> dict[str, Any]:
    """Claims of an officer's access token; None takes one away."""
    claims = {
        "iss": URL,
        "aud": AUDIENCE,
        "sub": "248289761001",
        "exp": NOW + 300,
        "iat": NOW - 5,
        "client_id": "portal",
        "roles": ["fsa.officer"],
        "name": "Jo Davis",
    } | changed
    return {name: value for name, value in claims.items() if value is not None}


def token(claims: dict[str, Any] | None = None, key: Key = EC, algorithm: str = "ES256", **header: Any) -> str:
    """A token, signed."""
    told = {"alg": algorithm, "kid": key.get("kid"), "typ": "at+jwt"} | header
    told = {name: value for name, value in told.items() if value is not None}
    registry = _Registry([algorithm])
    body = json.dumps(said() if claims is None else claims)
    return jws.serialize_compact(told, body, key, algorithms=[algorithm], registry=registry)


def part(value: object) -> str:
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def forged(header: Sequence[tuple[str, Any]] | dict[str, Any], claims: object, signature: bytes = b"") -> str:
    """A token put together by hand."""
    return f"{part(dict(header))}.{part(claims)}.{part(signature)}"
