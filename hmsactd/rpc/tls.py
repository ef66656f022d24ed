"""The certificate of the server, read again when its files change: the next connection gets the new one."""

from __future__ import annotations

import stat
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

import grpc
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from hmsactd import logs
from hmsactd.errors import StartRefused

LOOKED_AT_EVERY_S: Final = 1.0

log = logs.logger(__name__)

Seen = tuple[tuple[int, int], ...]


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


class ServerCertificate:
    """Hands gRPC what the files hold, whenever a connection is made."""

    def __init__(self, files: Files) -> None:
        self._files = files
        self._lock = threading.Lock()
        self._looked_at = 0.0
        self._failed: Seen | None = None
        try:
            self._seen = _seen(files)
            self._first = _configuration(files)
        except (OSError, ValueError, TypeError) as error:
            raise StartRefused(f"the TLS of gRPC can't be used: {_told(error)}") from error

    def credentials(self) -> grpc.ServerCredentials:
        """What a port is secured with."""
        # None from whom it asks for changes stands for none of them, which its type stubs do not know.
        changed = cast("Callable[[], grpc.ServerCertificateConfiguration]", self._changed)
        return grpc.dynamic_ssl_server_credentials(
            self._first, changed, require_client_authentication=self._files.client_ca is not None
        )

    def _changed(self) -> grpc.ServerCertificateConfiguration | None:
        """The parts if they are others by now. Called by gRPC, in threads of its own, at every handshake."""
        with self._lock:
            now = time.monotonic()
            if now - self._looked_at < LOOKED_AT_EVERY_S:
                return None
            self._looked_at = now
            try:
                seen = _seen(self._files)
                if seen in (self._seen, self._failed):
                    return None
                self._failed = seen
                changed = _configuration(self._files)
            except (OSError, ValueError, TypeError) as error:
                log.error("the certificate can't be read again: the one read before stays", error=_told(error))
                return None
            self._seen, self._failed = seen, None
            log.info("the certificate was read again", file=str(self._files.certificate))
            return changed


def _seen(files: Files) -> Seen:
    return tuple((about.st_mtime_ns, about.st_ino) for about in (path.stat() for path in files.all))


def _configuration(files: Files) -> grpc.ServerCertificateConfiguration:
    """Raises OSError, ValueError or TypeError, as gRPC itself would only drop every connection."""
    if stat.S_IMODE(files.key.stat().st_mode) & 0o077:
        raise ValueError(f"{files.key} can be read by others: chmod 600 {files.key}")
    certificate, key = files.certificate.read_bytes(), files.key.read_bytes()
    public = x509.load_pem_x509_certificates(certificate)[0].public_key()
    if load_pem_private_key(key, None).public_key() != public:
        raise ValueError(f"{files.key} is not the key of {files.certificate}")
    authority = None
    if files.client_ca is not None:
        authority = files.client_ca.read_bytes()
        x509.load_pem_x509_certificates(authority)
    return grpc.ssl_server_certificate_configuration([(key, certificate)], root_certificates=authority)


def _told(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return str(error)
