"""From the headers of a request to the tokens in them, if any. What a token stands for is not known here."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from hmsactd.errors import Unauthenticated

Metadata = Iterable[tuple[str, str | bytes]]
"""The headers of a request, names in lower case."""

ON_BEHALF_OF: Final = "hmsact-on-behalf-of"
"""The header in which a program shows, beside what it is known by itself, the token of the person it acts for."""

TOKEN_MAX = 8192
"""Characters of a token: what HTTP/2 peers accept for all headers together, unless told otherwise."""


def bearer_token(metadata: Metadata) -> str | None:
    """The token of a request; None if it has no authorization at all."""
    value = _only(metadata, "authorization", "AUTHORIZATION_TWICE")
    if value is None:
        return None
    scheme, _, token = value.partition(" ")
    token = token.strip(" ")
    if scheme.lower() != "bearer":
        raise Unauthenticated(
            "SCHEME_UNKNOWN", 'the authorization header has an unknown scheme: send "authorization: Bearer TOKEN"'
        )
    if not token or len(token) > TOKEN_MAX:
        raise Unauthenticated("TOKEN_MALFORMED", f"the bearer token is empty or longer than {TOKEN_MAX} characters")
    return token


def token_on_behalf(metadata: Metadata) -> str | None:
    """The token of the person for whom a request is made; None if it is made for nobody else."""
    token = _only(metadata, ON_BEHALF_OF, "ON_BEHALF_OF_TWICE")
    if token is not None and not 0 < len(token) <= TOKEN_MAX:
        raise Unauthenticated(
            "ON_BEHALF_OF_TOKEN_MALFORMED", f"the {ON_BEHALF_OF} header is empty or longer than {TOKEN_MAX} characters"
        )
    return token


def _only(metadata: Metadata, header: str, twice: str) -> str | None:
    found = [value for name, value in metadata if name == header]
    if len(found) > 1:
        # Whoever picks one of two decides who is calling: a proxy and we might pick differently.
        raise Unauthenticated(twice, f"the request has two {header} headers: send one")
    value = found[0] if found else None
    return value.decode("latin-1") if isinstance(value, bytes) else value
