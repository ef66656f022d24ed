"""Signs what the log states: its tree heads (seals), and the ends of timelines (head statements)."""

from __future__ import annotations

from typing import Protocol

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hmsact.note import Note, NoteSignature, TreeHead, VerifierKey


class Signer(Protocol):
    """Holds a private key, here or elsewhere; the algorithm is named by the key, never by a record."""

    @property
    def verifier_key(self) -> VerifierKey:
        """The key that verifies what this one signs."""
        ...

    def sign(self, text: str) -> bytes:
        """Returns the signature of a text."""
        ...


class Ed25519Signer:
    """Signs with a key in memory."""

    __slots__ = ("_key", "_verifier_key")

    def __init__(self, name: str, key: Ed25519PrivateKey) -> None:
        self._key = key
        self._verifier_key = VerifierKey(name, key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))

    @property
    def verifier_key(self) -> VerifierKey:
        """The key that verifies what this one signs."""
        return self._verifier_key

    def sign(self, text: str) -> bytes:
        """Returns the signature of a text."""
        return self._key.sign(text.encode())


def signed_note(body: str, signer: Signer) -> str:
    """Returns the signed note of a text."""
    key = signer.verifier_key
    return str(Note(body, (NoteSignature(key.name, key.id, signer.sign(body)),)))


def is_sealed(seal: str, head: TreeHead, key: VerifierKey) -> bool:
    """True if the seal states exactly this tree head and the key has signed it."""
    try:
        note = Note.parse(seal)
    except ValueError:
        return False
    return note.body == head.body() and note.is_signed_by(key)
