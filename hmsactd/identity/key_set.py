"""The public keys of an issuer of tokens (RFC 7517), and which of them a token may have been signed by."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Final

from joserfc.errors import JoseError
from joserfc.jwk import JWKRegistry, Key

KEY_SET_MAX_BYTES: Final = 256 * 1024
KEYS_MAX: Final = 100
RSA_BITS_MIN: Final = 2048

TYPES: Final = {
    "RS256": ("RSA", None),
    "PS256": ("RSA", None),
    "ES256": ("EC", "P-256"),
    "ES384": ("EC", "P-384"),
    "Ed25519": ("OKP", "Ed25519"),
    "EdDSA": ("OKP", "Ed25519"),
}
"""The type and curve of the key that signs by an algorithm."""


class BadKeySet(Exception):
    """Raised for what is not a set of public keys that can be used."""


class KeySet:
    """Public keys, none of which is used for anything but what it is made for."""

    def __init__(self, keys: Iterable[Key] = ()) -> None:
        self._keys = tuple(keys)

    def find(self, kid: str | None, algorithm: str) -> Key | None:
        """The key of that name, or the only one for the algorithm if none is named; None if there is none."""
        fitting = [key for key in self._keys if _fits(key, algorithm)]
        if kid is not None:
            return next((key for key in fitting if key.get("kid") == kid), None)
        return fitting[0] if len(fitting) == 1 else None

    def __len__(self) -> int:
        return len(self._keys)


def parse(text: bytes) -> KeySet:
    """Reads a JWK set; keys of a kind that we don't know are left out. Raises BadKeySet."""
    if len(text) > KEY_SET_MAX_BYTES:
        raise BadKeySet(f"has {len(text)} bytes; at most {KEY_SET_MAX_BYTES} are read")
    try:
        said = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadKeySet("is not JSON") from error
    members = said.get("keys") if isinstance(said, dict) else None
    if not isinstance(members, list) or len(members) > KEYS_MAX:
        raise BadKeySet(f'is not a JWK set: an object with a list "keys" of at most {KEYS_MAX}')
    keys = [key for member in members if isinstance(member, dict) and (key := _public(member)) is not None]
    if not keys:
        raise BadKeySet(f"has no key that can be used ({', '.join(TYPES)}; RSA from {RSA_BITS_MIN} bits)")
    return KeySet(keys)


def _public(member: dict[str, object]) -> Key | None:
    # A shared secret is no key of ours, whatever set it stands in: who checks a signature must not be able to make one.
    if member.get("kty") not in ("RSA", "EC", "OKP") or member.get("use", "sig") != "sig":
        return None
    if "d" in member:
        raise BadKeySet("holds a private key, which belongs to the issuer alone")
    try:
        key = JWKRegistry.import_key(member)  # type: ignore[arg-type]
        bits = key.public_key.key_size if key.key_type == "RSA" else RSA_BITS_MIN  # type: ignore[union-attr]
    except (JoseError, ValueError, TypeError, KeyError):
        return None
    return key if bits >= RSA_BITS_MIN else None


def _fits(key: Key, algorithm: str) -> bool:
    kind, curve = TYPES[algorithm]
    return key.key_type == kind and key.get("crv") == curve and key.get("alg") in (None, algorithm)
