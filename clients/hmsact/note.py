"""What is signed: seals over the log and statements about the ends of timelines, as C2SP signed notes.

Reads strictly: of any note, key or number there is exactly one spelling, so that no byte of it can be changed unseen.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from hmsact.record import HASH, TIME

ED25519: Final = 0x01
HEAD_FORMAT: Final = "hmsact-head/1"


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A key that verifies signed notes. Its text is a C2SP vkey: `name+hex8+base64`."""

    name: str
    public: bytes

    @property
    def id(self) -> bytes:
        """The four bytes by which a signature says whose it is."""
        return hashlib.sha256(self.name.encode() + b"\n" + bytes([ED25519]) + self.public).digest()[:4]

    def __str__(self) -> str:
        return f"{self.name}+{self.id.hex()}+{base64.b64encode(bytes([ED25519]) + self.public).decode()}"

    @classmethod
    def parse(cls, text: str) -> VerifierKey:
        """Reads a vkey; raises ValueError."""
        # The base64 part may hold "+" itself, the name may not.
        name, _, rest = text.partition("+")
        key_id, _, encoded = rest.partition("+")
        raw = strict_base64(encoded)
        if not _NAME.fullmatch(name) or len(raw) != 33 or raw[0] != ED25519:
            raise ValueError("this is not a verifier key of the kind name+id+base64 with an Ed25519 key")
        key = cls(name, raw[1:])
        if key.id.hex() != key_id:
            raise ValueError("the id in the verifier key is not that of the key")
        return key


@dataclass(frozen=True, slots=True)
class NoteSignature:
    """One signature line of a note."""

    name: str
    key_id: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class Note:
    """A C2SP signed note. `body` is the signed text and ends with a newline."""

    body: str
    signatures: tuple[NoteSignature, ...]

    def __str__(self) -> str:
        return (
            self.body
            + "\n"
            + "".join(
                f"— {line.name} {base64.b64encode(line.key_id + line.signature).decode()}\n" for line in self.signatures
            )
        )

    @classmethod
    def parse(cls, text: str) -> Note:
        """Reads a note; raises ValueError. Nothing is forgiven: not a space, not a byte of base64."""
        body, separator, tail = text.rpartition("\n\n")
        if not separator or not body or not tail.endswith("\n") or not _PLAIN.fullmatch(body):
            raise ValueError("this is not a signed note")
        return cls(body + "\n", tuple(map(_signature, tail[:-1].split("\n"))))

    def is_signed_by(self, key: VerifierKey) -> bool:
        """True if one of its signatures is a good one of this key."""
        return any(
            line.name == key.name and line.key_id == key.id and _is_signature(key.public, line.signature, self.body)
            for line in self.signatures
        )


@dataclass(frozen=True, slots=True)
class TreeHead:
    """What a seal says: the log, how many records it has, and the root of their tree."""

    origin: str
    size: int
    root: bytes

    def body(self) -> str:
        """Returns the text to sign: a C2SP tlog-checkpoint."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"

    @classmethod
    def parse(cls, body: str) -> TreeHead:
        """Reads the text of a seal; raises ValueError."""
        lines = body.split("\n")
        if len(lines) != 4 or lines[3] or not lines[0]:
            raise ValueError("a seal has three lines")
        head = cls(lines[0], decimal(lines[1]), strict_base64(lines[2]))
        if len(head.root) != 32:
            raise ValueError("the root in the seal is not a SHA-256 hash")
        return head


@dataclass(frozen=True, slots=True)
class HeadStatement:
    """What the daemon states about the end of a timeline: at `time`, `sequence` was its last event."""

    origin: str
    namespace: str
    operation: str
    sequence: int
    leaf: str
    size: int
    time: str

    def body(self) -> str:
        """Returns the text to sign."""
        return (
            f"{HEAD_FORMAT}\n{self.origin}\n{self.namespace}\n{self.operation}\n"
            f"{self.sequence}\n{self.leaf}\n{self.size}\n{self.time}\n"
        )

    @classmethod
    def parse(cls, body: str) -> HeadStatement:
        """Reads the text of a head statement; raises ValueError."""
        lines = body.split("\n")
        if len(lines) != 9 or lines[8] or lines[0] != HEAD_FORMAT:
            raise ValueError("this is not a head statement")
        if not HASH.fullmatch(lines[5]) or not TIME.fullmatch(lines[7]):
            raise ValueError("a head statement names a hash in hex and a time")
        return cls(lines[1], lines[2], lines[3], decimal(lines[4]), lines[5], decimal(lines[6]), lines[7])


def key_name(origin: str) -> str:
    """Returns the name under which the keys of a log sign: the daemon's part of its origin."""
    return origin.partition("/")[0]


def strict_base64(text: str) -> bytes:
    """Decodes base64 that has exactly one spelling; raises ValueError for any other."""
    try:
        raw = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError("the base64 is malformed") from error
    # Python ignores the unused bits of the last character; a changed one would pass unseen.
    if base64.b64encode(raw).decode() != text:
        raise ValueError("the base64 is not the one spelling of its bytes")
    return raw


def decimal(text: str) -> int:
    """Reads a natural number written the only way there is; raises ValueError for any other."""
    if not _DECIMAL.fullmatch(text):
        raise ValueError("a number is written in decimal, without signs or leading zeros")
    return int(text)


_DECIMAL = re.compile(r"0|[1-9][0-9]{0,15}")
_NAME = re.compile(r"[!-*,-~]+")
_PLAIN = re.compile(r"[\n -~]+")
_SIGNATURE = re.compile(r"— ([!-*,-~]+) ([A-Za-z0-9+/=]+)")


def _signature(line: str) -> NoteSignature:
    found = _SIGNATURE.fullmatch(line)
    if found is None:
        raise ValueError("a signature line of the note is malformed")
    raw = strict_base64(found[2])
    if len(raw) != 68:
        raise ValueError("a signature in the note has the wrong length")
    return NoteSignature(found[1], raw[:4], raw[4:])


def _is_signature(public: bytes, signature: bytes, text: str) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, text.encode())
    except InvalidSignature:
        return False
    return True
