"""Scenarios about the doors of a gRPC server: whom it lets in, and what it says when it is looked for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from hmsactd.conformance.called_grpc import GrpcAnswer, StepServer, caller_of
from hmsactd.conformance.request import AGENT, Request
from hmsactd.conformance.unmet import NotApplicable, expect
from hmsactd.services.credentials import credentials_of
from hmsactd.services.outcome import Failed

REFUSED: Final = ("UNAVAILABLE", "UNAUTHENTICATED", "PERMISSION_DENIED")
"""A handshake that fails is UNAVAILABLE."""


async def is_found(server: StepServer) -> None:
    """Looked for as after an outage, it is there."""
    is_there = await server.caller.is_there()
    expect(is_there, "SERVING from grpc.health.v1.Health, or UNIMPLEMENTED", "it doesn't say so, or isn't there")


async def refuses_strangers(server: StepServer) -> None:
    """Whoever shows no certificate, or one that nobody vouches for."""
    if server.target.called.certificate_file is None:
        raise NotApplicable("no certificate was given: say --certificate and --key if only the daemon may call")
    await _is_refused(server, "without a certificate", None)
    with TemporaryDirectory(prefix="hmsactd-conformance-") as directory:
        file = Path(directory) / "stranger.pem"
        file.write_bytes(_made_by_itself())
        await _is_refused(server, "with a certificate of the caller's own making", file)


async def _is_refused(server: StepServer, how: str, certificate: Path | None) -> None:
    strange = {"certificate_file": certificate, "key_file": None}
    credentials = credentials_of(server.target.called.model_copy(update=strange), [])
    request = Request("slow", {"seconds": 0})
    stranger = caller_of(server.target, credentials.channel)
    try:
        said = stranger.request_of(request.call, request.deadline_at)
        answer = GrpcAnswer(await stranger.execute(said, server.patience_s))
    finally:
        await stranger.close()
    is_refused = isinstance(answer.outcome, Failed) and answer.outcome.code in REFUSED
    expect(is_refused, f"a call {how} refused", f"the answer was {answer}")
    # Whoever is refused must not be able to spoil the key for the true one.
    true = await server.ask(request)
    expect(true.is_done, f"the true call done after one {how}", f"it was {true}")


def _made_by_itself() -> bytes:
    """A certificate that vouches for itself, with its key."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, AGENT)])
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(Encoding.PEM) + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
