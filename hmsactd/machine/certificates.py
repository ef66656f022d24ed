"""The files of a server's TLS: read together, checked to belong together, and read again when they change."""

from __future__ import annotations

import stat
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key

LOOKED_AT_EVERY_S: Final = 1.0

Seen = tuple[tuple[int, int, int], ...]


class Unusable(Exception):
    """Raised when the files can't be used: says which, and why."""


@dataclass(frozen=True, slots=True)
class Files:
    """Where the parts are, PEM. With an authority for clients, whoever shows no certificate of it is not let in."""

    certificate: Path
    key: Path
    client_ca: Path | None = None

    @property
    def all(self) -> tuple[Path, ...]:
        """Each of them."""
        return (self.certificate, self.key, *([self.client_ca] if self.client_ca else []))


@dataclass(frozen=True, slots=True)
class Parts:
    """What is in them."""

    certificate: bytes
    key: bytes
    client_ca: bytes | None
    begins_at: datetime
    ends_at: datetime
    """From when until when the certificate of the server is valid."""
    clients_end_at: datetime | None
    """When the last of the authorities for clients is valid no more."""


class WatchedFiles:
    """Files that may change meanwhile. What is no use is passed over, and what was read before stays."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._looked_at = time.monotonic()
        self._seen = _seen(files)
        self.parts = read(files)

    def changed(self) -> Parts | None:
        """The parts if they are others by now, looked at once a second at most; raises Unusable, once for a change."""
        now = time.monotonic()
        if now - self._looked_at < LOOKED_AT_EVERY_S:
            return None
        self._looked_at = now
        seen = _seen(self._files)
        if seen == self._seen:
            return None
        self._seen = seen
        self.parts = read(self._files)
        return self.parts


def read(files: Files) -> Parts:
    """Reads all of them; raises Unusable, as servers would only drop every connection, or ask for a passphrase."""
    try:
        if stat.S_IMODE(files.key.stat().st_mode) & 0o077:
            raise Unusable(f"{files.key} can be read by others: chmod 600 {files.key}")
        certificate, key = files.certificate.read_bytes(), files.key.read_bytes()
        authorities = files.client_ca.read_bytes() if files.client_ca is not None else None
    except OSError as error:
        raise Unusable(f"{error.filename}: {error.strerror}") from error
    own = _certificates(files.certificate, certificate)[0]
    try:
        is_pair = load_pem_private_key(key, None).public_key() == own.public_key()
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise Unusable(f"{files.key} is not a private key, PEM, without a passphrase") from error
    if not is_pair:
        raise Unusable(f"{files.key} is not the key of {files.certificate}")
    clients_end_at = None
    if files.client_ca is not None and authorities is not None:
        clients_end_at = max(each.not_valid_after_utc for each in _certificates(files.client_ca, authorities))
    return Parts(certificate, key, authorities, own.not_valid_before_utc, own.not_valid_after_utc, clients_end_at)


def _certificates(path: Path, text: bytes) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(text)
    except ValueError as error:
        raise Unusable(f"{path} holds no certificate, PEM") from error


def _seen(files: Files) -> Seen:
    """How the files look. One that can't be looked at looks like none, and reading says why."""
    return tuple(map(_look, files.all))


def _look(path: Path) -> tuple[int, int, int]:
    try:
        about = path.stat()
    except OSError:
        return 0, 0, 0
    return about.st_mtime_ns, about.st_ino, about.st_size
