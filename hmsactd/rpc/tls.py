"""The certificate of the server, read again when its files change: the next connection gets the new one."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import cast

import grpc

from hmsactd import logs
from hmsactd.errors import StartRefused
from hmsactd.machine.certificates import Files, Parts, Unusable, WatchedFiles

log = logs.logger(__name__)


class ServerCertificate:
    """Hands gRPC what the files hold, whenever a connection is made."""

    def __init__(self, files: Files) -> None:
        self._asks_for_certificates = files.client_ca is not None
        self._lock = threading.Lock()
        try:
            self._files = WatchedFiles(files)
        except Unusable as error:
            raise StartRefused(f"the TLS of gRPC can't be used: {error}") from error

    def credentials(self) -> grpc.ServerCredentials:
        """What a port is secured with."""
        # None from whom it asks for changes stands for none of them, which its type stubs do not know.
        changed = cast("Callable[[], grpc.ServerCertificateConfiguration]", self._changed)
        return grpc.dynamic_ssl_server_credentials(
            _configuration(self._files.parts), changed, require_client_authentication=self._asks_for_certificates
        )

    def _changed(self) -> grpc.ServerCertificateConfiguration | None:
        """The parts if they are others by now. Called by gRPC, in threads of its own, at every handshake."""
        with self._lock:
            try:
                parts = self._files.changed()
            except Unusable as error:
                log.error("the certificate can't be read again: the one read before stays", error=str(error))
                return None
            if parts is None:
                return None
            log.info("the certificate was read again", ends_at=parts.ends_at.isoformat())
            return _configuration(parts)


def _configuration(parts: Parts) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration(
        [(parts.key, parts.certificate)], root_certificates=parts.client_ca
    )
