"""How a daemon is reached: its address, who is calling, encryption, namespace and patience. Makes no connection."""

from __future__ import annotations

import ipaddress
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import grpc

import hmsact
from hmsact.duration import Duration, seconds
from hmsact.errors import InvalidArgument, Violation

ADDRESS: Final = "127.0.0.1:7400"
TIMEOUT: Final = "20s"

Tls = bool | str | Path | grpc.ChannelCredentials | None
"""None: TLS everywhere but on this machine. True: TLS with the system's authorities. False: none, not even to another
machine. A path: TLS with the authorities in that PEM file. Or credentials of gRPC."""

MESSAGE_BYTES_MAX: Final = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Target:
    """A daemon, and how to speak with it. `credentials` is None for plain text."""

    address: str
    namespace: str
    timeout_s: float
    token: str | None = field(repr=False)
    credentials: grpc.ChannelCredentials | None = field(repr=False)
    on_behalf_of: str | None = field(default=None, repr=False)

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """What every call carries to say who is calling, and for whom."""
        own = () if self.token is None else (("authorization", f"Bearer {self.token}"),)
        return own if self.on_behalf_of is None else (*own, ("hmsact-on-behalf-of", self.on_behalf_of))

    def for_person(self, token: str) -> Target:
        """The same for the person whose token it is; raises InvalidArgument for one that no header can carry."""
        if not _is_sendable(token):
            raise InvalidArgument("the token of the person is empty, or no header can carry it", reason="BAD_TOKEN")
        return replace(self, on_behalf_of=token)

    @property
    def options(self) -> tuple[tuple[str, str | int], ...]:
        """Options of a channel to it, for both stacks of gRPC."""
        return (
            ("grpc.primary_user_agent", f"hmsact/{hmsact.__version__}"),
            # While a call is open, a connection that has died without a word is noticed within 40 s.
            ("grpc.keepalive_time_ms", 30_000),
            ("grpc.keepalive_timeout_ms", 10_000),
            ("grpc.keepalive_permit_without_calls", 0),
            # The defaults wait up to two minutes before they try again; a daemon restarts in a second or two. A call is
            # tried for longer than this: else it would fail without one look at a daemon that is back.
            ("grpc.initial_reconnect_backoff_ms", 200),
            ("grpc.min_reconnect_backoff_ms", 1000),
            ("grpc.max_reconnect_backoff_ms", 800),
            ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
            # A request is kept while it may have to be sent again; one with its definition and input is beyond 256 KiB.
            ("grpc.per_rpc_retry_buffer_size", 4 * 1024 * 1024),
            ("grpc.service_config", _SERVICE_CONFIG),
            # gRPC would send even calls to this machine through a proxy named in the environment.
            ("grpc.enable_http_proxy", 0 if _is_local(self.address) else 1),
        )


def target(
    address: str | None = None,
    *,
    token: str | None = None,
    tls: Tls = None,
    namespace: str | None = None,
    timeout: Duration | float = TIMEOUT,
    environment: Mapping[str, str] = os.environ,
) -> Target:
    """Fills what is left out from HMSACT_ADDRESS, HMSACT_TOKEN, HMSACT_CA and HMSACT_NAMESPACE, then from defaults.

    An empty token is none, whatever the environment says. HMSACT_CERTIFICATE and HMSACT_KEY are files with a
    certificate of your own, which is shown where TLS asks for one.
    Raises InvalidArgument for a token that no header can carry, one that would cross a network in plain text, and a
    file of authorities that cannot be read.
    """
    address = address or environment.get("HMSACT_ADDRESS") or ADDRESS
    token = (environment.get("HMSACT_TOKEN") if token is None else token) or None
    if tls is None:
        tls = environment.get("HMSACT_CA") or None
    if token is not None and not _is_sendable(token):
        raise InvalidArgument("the token has characters that no header can carry", reason="BAD_TOKEN")
    credentials = _credentials(address, tls, environment)
    if token is not None and credentials is None and tls is not False and not _is_local(address):
        raise InvalidArgument(f"the token would cross the network to {address} in plain text", reason="BAD_TOKEN")
    return Target(
        address=address,
        namespace=namespace or environment.get("HMSACT_NAMESPACE") or "default",
        timeout_s=seconds(timeout),
        token=token,
        credentials=credentials,
    )


def _is_sendable(token: str) -> bool:
    return token != "" and token.isascii() and token.isprintable()


def _credentials(address: str, tls: Tls, environment: Mapping[str, str]) -> grpc.ChannelCredentials | None:
    certificate, key = environment.get("HMSACT_CERTIFICATE") or None, environment.get("HMSACT_KEY") or None
    if (certificate is None) != (key is None):
        raise InvalidArgument("HMSACT_CERTIFICATE and HMSACT_KEY go together", reason="BAD_CERTIFICATE")
    if tls is False or (tls is None and certificate is None and _is_local(address)):
        return None
    if isinstance(tls, grpc.ChannelCredentials):
        return tls
    authorities = _read(tls) if isinstance(tls, str | Path) else None
    own = (_read(key), _read(certificate)) if key is not None and certificate is not None else (None, None)
    return grpc.ssl_channel_credentials(authorities, *own)


def _read(file: str | Path) -> bytes:
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise InvalidArgument(
            "a file of TLS cannot be read", violations=(Violation(str(file), str(error.strerror)),)
        ) from error


def _is_local(address: str) -> bool:
    """True if nothing but this machine sees what is sent there."""
    if address.startswith(("unix:", "unix-abstract:")):
        return True
    host = address.removeprefix("dns:///").removeprefix("ipv4:").removeprefix("ipv6:").rpartition(":")[0].strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


# Every unary call may be repeated: it reads, or it carries a request id. Whoever watches or starts many resumes by
# itself, from the first message on: with gRPC's retries, a stream that is opened while the daemon is killed now and
# then neither answers nor ends. Whoever exports asks again. The stream of a worker resumes by its session.
_SERVICE_CONFIG = json.dumps(
    {
        "methodConfig": [
            {
                # What is said of a method stands before what is said of its service.
                "name": [
                    {"service": f"hmsact.v1.{service}", "method": method}
                    for service, method in (
                        ("TimelineService", "WatchOperation"),
                        ("TimelineService", "WatchEvents"),
                        ("TimelineService", "ExportOperation"),
                        ("OperationService", "StartOperations"),
                        ("JobService", "WatchJob"),
                    )
                ],
            },
            {
                "name": [
                    *(
                        {"service": f"hmsact.v1.{service}"}
                        for service in (
                            "OperationService",
                            "CheckpointService",
                            "JobService",
                            "TimelineService",
                            "SystemService",
                        )
                    ),
                    {"service": "hmsact.v1.WorkerService", "method": "CompleteStep"},
                ],
                "retryPolicy": {
                    "maxAttempts": 4,
                    "initialBackoff": "0.1s",
                    "backoffMultiplier": 3,
                    "maxBackoff": "2s",
                    "retryableStatusCodes": ["UNAVAILABLE"],
                },
            },
        ]
    }
)
