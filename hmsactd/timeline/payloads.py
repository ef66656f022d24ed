"""What callers say in their own words: checked, committed to field by field, kept encrypted, erasable.

`commit` belongs at the edge, before an operation is told; a `Keyring` stands between the timeline and the store.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Final, NoReturn

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hmsact.record import field_commitments, field_salt, field_texts, fields_and_whole, payload_commitment

from hmsactd.core.payload import Payload
from hmsactd.timeline.entropy import random_bytes

BYTES_MAX: Final = 256 * 1024
DEPTH_MAX: Final = 32
SALT_BYTES: Final = 32
_NONCE_BYTES: Final = 12
WRAPPED_BYTES: Final = _NONCE_BYTES + 32 + 16
"""A wrapped key: the nonce, the key, and the tag of the cipher."""


class NotJson(Exception):
    """Raised when what should be JSON isn't."""


class TooLarge(Exception):
    """Raised when a payload has more bytes than it may."""


class TooDeep(Exception):
    """Raised when a payload is nested more deeply than it may."""


class Unreadable(Exception):
    """Raised when a kept payload doesn't open: it was changed, moved, or belongs to another key."""


def commit(text: bytes | str, max_bytes: int = BYTES_MAX, max_depth: int = DEPTH_MAX) -> Payload:
    """Returns the payload of a JSON text, with its content and a fresh salt; raises NotJson, TooLarge or TooDeep."""
    value = _parsed(text, max_bytes, max_depth)
    return _committed(value)


def commit_words(words: str) -> Payload:
    """Returns the payload of a plain string: a reason, a comment, an error."""
    return _committed(words)


def field_pairs(content: bytes, salt: bytes) -> list[tuple[bytes, str]]:
    """Returns the salt and the text of each field of a kept content, in order."""
    texts = field_texts(json.loads(content))
    return [(field_salt(salt, position), text) for position, text in enumerate(texts)]


def _committed(value: object) -> Payload:
    try:
        content, texts = fields_and_whole(value)
    except ValueError as error:
        raise NotJson("a number is too large for JSON as this daemon keeps it") from error
    salt = random_bytes(SALT_BYTES)
    return Payload(
        payload_commitment(field_commitments(salt, texts)).hex(), len(content), content.encode("ascii"), salt
    )


def _parsed(text: bytes | str, max_bytes: int, max_depth: int) -> object:
    if len(text) > max_bytes:
        raise TooLarge(f"{len(text)} bytes are more than the {max_bytes} that a payload may have")
    try:
        told = text if isinstance(text, str) else text.decode("utf-8")
        if isinstance(text, str) and len(told.encode("utf-8", "surrogatepass")) > max_bytes:
            raise TooLarge(f"the text is longer than the {max_bytes} bytes that a payload may have")
        value: object = _parse(told)
    except RecursionError as error:
        raise TooDeep(f"it is nested more deeply than {max_depth} levels") from error
    except ValueError as error:
        raise NotJson(f"it is not JSON: {error}") from error
    # Few payloads have as many brackets as levels are allowed; only those are walked.
    if told.count("{") + told.count("[") > max_depth and _depth(value) > max_depth:
        raise TooDeep(f"it is nested more deeply than {max_depth} levels")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


_parse = json.JSONDecoder(parse_constant=_refuse_constant).decode


def _depth(value: object) -> int:
    depth, level = 0, [value]
    while containers := [part for part in level if isinstance(part, (dict, list))]:
        depth += 1
        level = [member for container in containers for member in _members(container)]
    return depth


def _members(container: dict[str, object] | list[object]) -> Iterator[object]:
    return iter(container.values() if isinstance(container, dict) else container)


class DataKey:
    """The key of one operation's payloads."""

    __slots__ = ("_cipher", "wrapped")

    def __init__(self, key: bytes, wrapped: bytes) -> None:
        self._cipher = AESGCM(key)
        self.wrapped = wrapped

    def seal(self, payload: Payload, namespace: str, operation: str, sequence: int, name: str) -> bytes:
        """Encrypts a payload that still has its content, so that it opens at this place only."""
        assert payload.content is not None, "a replayed payload has no content to keep"
        assert payload.salt is not None, "a payload is kept with the salt of its commitment"
        nonce = random_bytes(_NONCE_BYTES)
        bound = _place(namespace, operation, sequence, name)
        return nonce + self._cipher.encrypt(nonce, payload.salt + payload.content, bound)

    def open(self, sealed: bytes, namespace: str, operation: str, sequence: int, name: str) -> tuple[bytes, bytes]:
        """Returns salt and content; raises Unreadable."""
        bound = _place(namespace, operation, sequence, name)
        try:
            plain = self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], bound)
        except (InvalidTag, ValueError) as error:
            raise Unreadable(f"the {name} of event {sequence} of {operation} does not open") from error
        return plain[:SALT_BYTES], plain[SALT_BYTES:]


class Keyring:
    """Makes and opens data keys, each wrapped by the one key in the data directory."""

    __slots__ = ("_cipher",)

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    def fresh(self, namespace: str, operation: str) -> DataKey:
        """Makes the data key of a new operation."""
        key, nonce = random_bytes(32), random_bytes(_NONCE_BYTES)
        return DataKey(key, nonce + self._cipher.encrypt(nonce, key, _place(namespace, operation)))

    def unwrap(self, wrapped: bytes, namespace: str, operation: str) -> DataKey:
        """Opens the data key of an operation; raises Unreadable."""
        try:
            key = self._cipher.decrypt(wrapped[:_NONCE_BYTES], wrapped[_NONCE_BYTES:], _place(namespace, operation))
        except (InvalidTag, ValueError) as error:
            raise Unreadable(f"the payload key of {operation} does not open") from error
        return DataKey(key, wrapped)


def _place(*parts: str | int) -> bytes:
    # No part holds a newline: they are ids, numbers and names.
    return "\n".join(map(str, parts)).encode()
