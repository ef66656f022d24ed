"""Which addresses are asked for what is then believed."""

from __future__ import annotations

from urllib.parse import urlsplit

from hmsactd.settings.values import Address


def is_safe(address: str) -> bool:
    """True if nobody in between can answer: over TLS, or on this machine. Nor may it name a user, or carry a query."""
    try:
        parts = urlsplit(address)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return False
    if not host or "@" in parts.netloc or parts.query or parts.fragment or not address.isprintable():
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and Address(host, 0).is_loopback)
