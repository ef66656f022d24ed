"""Services that the daemon calls, as the settings have them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field, ValidationInfo, field_validator

from hmsactd.settings.values import Address, Count, Duration, Section, Span

CALLED_FAULT = 'is not the address of a service, such as "https://treasury.gov/steps" or "grpcs://treasury.gov:443"'
CALLED_PORTS = {"https": 443, "http": 80, "grpcs": None, "grpc": None}
"""The schemes by which a service is called, with the port that goes without saying."""


def _called(said: str) -> str:
    """The address of a called service, unless there is something wrong with it."""
    try:
        parts = urlsplit(said)
        port = parts.port or CALLED_PORTS[parts.scheme]
    except (ValueError, KeyError):
        raise ValueError(CALLED_FAULT) from None
    if not parts.hostname or not port or not said.isprintable() or not said.isascii() or " " in said:
        raise ValueError(CALLED_FAULT)
    if "@" in parts.netloc:
        raise ValueError("has a user or a password in it: whatever names the address would tell it")
    if parts.fragment or (parts.scheme.startswith("grpc") and (parts.path.strip("/") or parts.query)):
        raise ValueError("says more than where the service is: gRPC has no path, and nothing has a fragment")
    return said


SERVICE_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")
STEP_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
NAMESPACE_NAME = r"^[a-z][a-z0-9_-]{0,62}$"
VARIABLE_NAME = r"^[A-Za-z_][A-Za-z0-9_]*$"


def service_name(said: str) -> str:
    """The name of a service, unless there is something wrong with it."""
    if not SERVICE_NAME.fullmatch(said):
        raise ValueError("no service can be called so: a letter, then letters, digits, _, . and -, at most 64")
    return said


class Called(Section):
    """A service that the daemon calls, named by its table: `[services.Treasury]`. No worker may do the same steps."""

    address: str
    """Where it is: "https://HOST/PATH" for JSON over HTTPS, "grpcs://HOST:PORT" for hmsact.v1.StepService over TLS,
    "http" and "grpc" for the same in the clear. Default: none, it has to be said."""
    insecure: bool = False
    """Whether it may be called in the clear on another machine. Default false: payloads are about citizens."""
    namespace: Annotated[str, Field(pattern=NAMESPACE_NAME)] = "default"
    """The namespace whose operations it serves. Default "default"."""
    steps: tuple[str, ...] = ()
    """The steps for which it is called; others of the service are left to workers. Default: every step."""
    deadline: Duration = Span(30_000)
    """How long a call may take, from the first byte sent to the last received; a shorter timeout of the step comes
    first. Default 30s: as long as a person waits for a page, and half of what most gateways allow."""
    concurrency: Annotated[int, Field(ge=1, le=10_000)] = 16
    """Calls at a time. Default 16: what a small service bears without being asked."""
    rate: Annotated[float, Field(gt=0, le=100_000, allow_inf_nan=False)] | None = None
    """Calls a second at most; also how fast the queue drains after an outage. Default: no limit but `concurrency`."""
    ca_file: Path | None = None
    """The authorities that vouch for it, PEM; no others count then. Default: those that the machine trusts."""
    certificate_file: Path | None = None
    """The certificate by which the daemon shows itself, PEM, with what it needs of its chain. Default: none."""
    key_file: Path | None = None
    """The key of the certificate, PEM, without a passphrase. Default: none; the certificate's file may hold it."""
    proxy: str | None = None
    """The proxy through which it is called, "http://HOST:PORT", for "https" and "http" only. Default: none; what the
    environment says of proxies counts for nothing."""
    secret_file: Path | None = None
    """A file with the secret that signs calls over HTTPS, as Standard Webhooks has it ("whsec_…"). During a rotation
    two, in two lines: each signs. Default: none, calls are not signed."""
    secret_variable: Annotated[str, Field(pattern=VARIABLE_NAME)] | None = None
    """The environment variable with that secret, instead of a file; two are separated by a blank. Default: none."""
    failures_max: Count = 5
    """Calls in a row that come to nothing (no connection, no answer in time) before no more are made until it answers
    again. Default 5: not a single lost packet, and few enough retries spent on an outage."""
    pause: Duration = Span(1_000)
    """How long it is then left alone before it is looked for; the pause doubles each time. Default 1s."""
    pause_max: Duration = Span(60_000)
    """The longest such pause, and the longest that it may ask for (Retry-After). Default 1m: a service that is back is
    called again within a minute."""

    @property
    def is_grpc(self) -> bool:
        """True for gRPC, false for JSON over HTTP."""
        return self.address.startswith("grpc")

    @property
    def is_encrypted(self) -> bool:
        """True over TLS."""
        return self.address.startswith(("https:", "grpcs:"))

    @property
    def place(self) -> Address:
        """The host and port of its address."""
        parts = urlsplit(self.address)
        port = parts.port or CALLED_PORTS[parts.scheme]
        assert parts.hostname is not None and port is not None, "addresses are checked when they are read"
        return Address(parts.hostname, port)

    def serves(self, namespace: str, step: str) -> bool:
        """True if it is called for a step of this name."""
        return namespace == self.namespace and (not self.steps or step in self.steps)

    @field_validator("address")
    @classmethod
    def _is_an_address(cls, said: str) -> str:
        return _called(said)

    @field_validator("insecure")
    @classmethod
    def _encrypted_but_for_loopback(cls, said: bool, info: ValidationInfo) -> bool:
        address = info.data.get("address")
        if address is not None and not said and address.startswith(("http:", "grpc:")):
            host = urlsplit(address).hostname or ""
            if not Address(host, 0).is_loopback:
                raise ValueError(f"{address} is not encrypted, and {host} is another machine: say insecure = true")
        return said

    @field_validator("steps")
    @classmethod
    def _are_names(cls, said: tuple[str, ...]) -> tuple[str, ...]:
        wrong = [step for step in said if not STEP_NAME.fullmatch(step)]
        if wrong:
            raise ValueError(f"{', '.join(map(repr, wrong))}: no step can be called so")
        if len(set(said)) < len(said):
            raise ValueError("name a step twice")
        return said

    @field_validator("deadline", "pause")
    @classmethod
    def _lasts(cls, said: Span) -> Span:
        if said.ms < 1:
            raise ValueError(f"{said} is no time at all")
        return said

    @field_validator("ca_file", "certificate_file")
    @classmethod
    def _over_tls(cls, said: Path | None, info: ValidationInfo) -> Path | None:
        if said is not None and info.data.get("address", "https:").startswith(("http:", "grpc:")):
            raise ValueError("is of no use: the address is not encrypted")
        return said

    @field_validator("key_file")
    @classmethod
    def _of_a_certificate(cls, said: Path | None, info: ValidationInfo) -> Path | None:
        if said is not None and info.data.get("certificate_file", said) is None:
            raise ValueError("is of no use without certificate_file")
        return said

    @field_validator("proxy")
    @classmethod
    def _is_a_proxy(cls, said: str | None, info: ValidationInfo) -> str | None:
        if said is None:
            return None
        if info.data.get("address", "https:").startswith("grpc"):
            raise ValueError("is for https and http only")
        parts = urlsplit(_called(said))
        if parts.scheme not in ("http", "https") or parts.path.strip("/") or parts.query:
            raise ValueError('is not a proxy, such as "http://proxy.gov:3128"')
        return said

    @field_validator("secret_file", "secret_variable")
    @classmethod
    def _signs_http(cls, said: Path | str | None, info: ValidationInfo) -> Path | str | None:
        if said is None:
            return None
        if info.data.get("address", "https:").startswith("grpc"):
            raise ValueError("signs calls over https; over grpcs the daemon shows its certificate")
        if info.data.get("secret_file") is not None:
            raise ValueError("says the secret a second time: secret_file says it too")
        return said

    @field_validator("pause_max")
    @classmethod
    def _not_below_the_first(cls, said: Span, info: ValidationInfo) -> Span:
        first = info.data.get("pause")
        if first is not None and said.ms < first.ms:
            raise ValueError(f"{said} is shorter than pause, {first}")
        return said
