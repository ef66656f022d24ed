"""Programs that may call: what the settings say of each, and by which credentials they are known."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from hmsactd.core.principal import Principal, PrincipalKind
from hmsactd.errors import Unauthenticated
from hmsactd.identity.api_token import digest_of, is_token
from hmsactd.identity.api_tokens import TokenFile
from hmsactd.identity.certificate import workload_of
from hmsactd.identity.credential import Credential

ISSUER: Final = "workload"
KNOWN_MAX: Final = 10_000
NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,63}")


@dataclass(frozen=True, slots=True)
class Workload:
    """A program, as the settings enrol it. It is the same principal by whichever credential it is known."""

    name: str
    kind: PrincipalKind = PrincipalKind.SERVICE
    certificate: str | None = None
    serves: tuple[str, ...] = ()
    roles: tuple[str, ...] = ()
    responsible: str | None = None
    clients: tuple[str, ...] = ()
    """The clients that it is to identity providers, as "ISSUER:CLIENT"."""

    def principal(self, method: str) -> Principal:
        """As it acts."""
        return Principal(self.kind, ISSUER, self.name, self.roles, method, self.responsible)


class Certificates:
    """Workloads by the certificate of their connection."""

    def __init__(self, workloads: Iterable[Workload], trust_domains: Collection[str]) -> None:
        self._workloads = {workload.certificate: workload for workload in workloads if workload.certificate}
        self._trust_domains = trust_domains
        self._known: OrderedDict[bytes, Credential] = OrderedDict()

    def credential(self, pem: bytes, now: int) -> Credential:
        """Whose certificate it is; raises Unauthenticated. TLS has checked that it is one of our authority's."""
        digest = sha256(pem).digest()
        credential = self._known.get(digest)
        if credential is None:
            credential = self._read(pem)
            self._known[digest] = credential
            if len(self._known) > KNOWN_MAX:
                self._known.popitem(last=False)
        if credential.ends_at is not None and now >= credential.ends_at:
            raise Unauthenticated("CERTIFICATE_EXPIRED", "the client's certificate has expired")
        return credential

    def _read(self, pem: bytes) -> Credential:
        named = workload_of(pem, self._trust_domains)
        workload = self._workloads.get(named.id)
        if workload is None:
            raise Unauthenticated(
                "WORKLOAD_UNKNOWN", f"no workload is enrolled with the certificate of {named.id} (identity.workloads)"
            )
        return Credential(workload.principal("certificate"), named.expires_at)


class ApiTokens:
    """Workloads by the tokens that were made for them."""

    def __init__(self, workloads: Mapping[str, Workload], file: TokenFile) -> None:
        self._workloads = workloads
        self._file = file

    def credential(self, token: str, now: int) -> Credential | None:
        """Whose token it is; raises Unauthenticated if it is one of ours and no good any more."""
        if not is_token(token):
            return None
        kept = self._file.find(digest_of(token))
        workload = self._workloads.get(kept.principal) if kept is not None else None
        if kept is None or workload is None:
            raise Unauthenticated("TOKEN_UNKNOWN", "the bearer token is not known here")
        if not kept.is_valid(now):
            how = "revoked" if kept.revoked_at is not None else "expired"
            raise Unauthenticated(f"TOKEN_{how.upper()}", f"the token {kept.id} of {kept.principal} has {_WORDS[how]}")
        return Credential(workload.principal("token"), kept.expires_at)


_WORDS: Final = {"revoked": "been revoked", "expired": "expired: make another with `hmsactd token create`"}
