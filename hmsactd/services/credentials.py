"""What the daemon shows to a called service, and by what it knows it: read from their files once, at the start.

Nothing of a secret or key is ever told, neither in an error nor in the log.
"""

from __future__ import annotations

import base64
import os
import ssl
from dataclasses import dataclass
from pathlib import Path

import grpc
from standardwebhooks import Webhook

from hmsactd.settings.called import Called

SECRET_PREFIX = "whsec_"  # noqa: S105 -- what secrets begin with
SECRET_BYTES = range(24, 65)
"""How long a secret may be, as Standard Webhooks has it."""

SECRETS_MAX = 2


@dataclass(frozen=True, slots=True)
class Credentials:
    """Of one service. For gRPC `channel`, for HTTPS `tls` and `secrets`; both None in the clear."""

    tls: ssl.SSLContext | None = None
    channel: grpc.ChannelCredentials | None = None
    secrets: tuple[Webhook, ...] = ()


def credentials_of(called: Called, faults: list[str]) -> Credentials:
    """Reads them. What is wrong is added to `faults`, each a sentence that begins with the name of the setting."""
    secrets = _secrets(called, faults)
    if not called.is_encrypted:
        return Credentials(secrets=secrets)
    tls = _tls(called, faults)
    if not called.is_grpc or faults:
        return Credentials(tls=tls, secrets=secrets)
    key = _read(called.key_file or called.certificate_file, "key_file", faults)
    chain = _read(called.certificate_file, "certificate_file", faults)
    authorities = _read(called.ca_file or _authorities(), "ca_file", faults)
    return Credentials(channel=grpc.ssl_channel_credentials(authorities, key, chain))


def _tls(called: Called, faults: list[str]) -> ssl.SSLContext:
    """TLS 1.2 and up, with the host's name checked. Made for gRPC, too, which would find out about a bad file late."""
    context = ssl.create_default_context()
    if called.ca_file is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            context.load_verify_locations(called.ca_file)
        except (OSError, ssl.SSLError) as error:
            faults.append(f"ca_file: {called.ca_file} can't be used: {_why(error)}")
    if called.certificate_file is not None:
        try:
            # Asked for a passphrase, it would ask the terminal.
            context.load_cert_chain(called.certificate_file, called.key_file, password=lambda: b"")
        except (OSError, ssl.SSLError) as error:
            files = " and ".join(str(file) for file in (called.certificate_file, called.key_file) if file is not None)
            faults.append(f"certificate_file: {files} can't be used: {_why(error)}")
    return context


def _authorities() -> Path | None:
    """Those that the machine trusts, for both protocols the same; None leaves gRPC its own."""
    # It is None where there is none, whatever its type says.
    found = ssl.get_default_verify_paths().cafile or ""
    return Path(found) if found else None


def _secrets(called: Called, faults: list[str]) -> tuple[Webhook, ...]:
    if called.secret_file is not None:
        place, found = f"secret_file: {called.secret_file}", _read(called.secret_file, "secret_file", faults)
        if found is None:
            return ()
        said = found.decode("ascii", "replace")
    elif called.secret_variable is not None:
        place, said = f"secret_variable: {called.secret_variable}", os.environ.get(called.secret_variable, "")
    else:
        return ()
    words = said.split()
    if not 1 <= len(words) <= SECRETS_MAX:
        faults.append(f"{place} holds {len(words)} secrets, not one or two")
        return ()
    secrets = tuple(secret for word in words if (secret := _secret(word)) is not None)
    if len(secrets) < len(words):
        faults.append(f'{place} does not hold a secret: "{SECRET_PREFIX}" and 24 to 64 bytes in base64')
    return secrets


def _secret(word: str) -> Webhook | None:
    if not word.startswith(SECRET_PREFIX):
        return None
    encoded = word.removeprefix(SECRET_PREFIX).rstrip("=")
    try:
        secret = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except ValueError:
        return None
    return Webhook(secret) if len(secret) in SECRET_BYTES else None


def _read(file: Path | None, name: str, faults: list[str]) -> bytes | None:
    if file is None:
        return None
    try:
        return file.read_bytes()
    except OSError as error:
        faults.append(f"{name}: {file} can't be read: {_why(error)}")
        return None


def _why(error: OSError) -> str:
    return error.strerror or str(error) or "it is not what it should be"
