"""From a client's certificate to the workload it names. That it is one of our authority's, TLS has seen to."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from cryptography import x509

from hmsactd.errors import Unauthenticated

SPIFFE: Final = re.compile(r"spiffe://([a-z0-9._-]{1,255})((?:/[A-Za-z0-9._-]+)+)")
"""A SPIFFE id of a workload: a trust domain and a path (SPIFFE-ID, 2.1 and 2.2)."""

ISSUER_SPIFFE: Final = "spiffe"
ISSUER_X509: Final = "x509"
NAME_MAX: Final = 255


@dataclass(frozen=True, slots=True)
class Workload:
    """Who a certificate is of. Times are microseconds since the epoch."""

    issuer: str
    subject: str
    expires_at: int

    @property
    def id(self) -> str:
        """As the settings name it: "spiffe://agency.gov/irs", or "x509:CN=irs,O=IRS"."""
        return f"{self.issuer}:{self.subject}"


def workload_of(pem: bytes, trust_domains: Collection[str]) -> Workload:
    """The workload that a certificate names by exactly one SPIFFE id, else by its subject; raises Unauthenticated."""
    try:
        certificate = x509.load_pem_x509_certificate(pem)
        expires_at = round(certificate.not_valid_after_utc.timestamp() * 1_000_000)
        names = _names(certificate)
        subject = certificate.subject.rfc4514_string()
    except (ValueError, x509.DuplicateExtension, x509.UnsupportedGeneralNameType) as error:
        raise Unauthenticated("CERTIFICATE_MALFORMED", "the client's certificate can't be read") from error
    if len(names) > 1:
        # Which of them is meant, another may decide differently.
        raise Unauthenticated("CERTIFICATE_AMBIGUOUS", "the client's certificate has more than one URI as its name")
    if names:
        return Workload(ISSUER_SPIFFE, _spiffe(names[0], trust_domains), expires_at)
    if not 0 < len(subject) <= NAME_MAX or not subject.isprintable():
        raise Unauthenticated("CERTIFICATE_NAMELESS", "the client's certificate names nobody")
    return Workload(ISSUER_X509, subject, expires_at)


def _names(certificate: x509.Certificate) -> list[str]:
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return []
    return extension.value.get_values_for_type(x509.UniformResourceIdentifier)


def _spiffe(name: str, trust_domains: Collection[str]) -> str:
    found = SPIFFE.fullmatch(name)
    if found is None or len(name) > NAME_MAX or any(part in (".", "..") for part in found[2].split("/")):
        raise Unauthenticated(
            "CERTIFICATE_NAME", "the URI in the client's certificate is not a SPIFFE id of a workload"
        )
    if found[1] not in trust_domains:
        raise Unauthenticated(
            "TRUST_DOMAIN_UNKNOWN", f"the trust domain {found[1]} is not known here (identity.trust_domains)"
        )
    return name.removeprefix(f"{ISSUER_SPIFFE}:")
