"""From the headers of a request to the bearer token in them, if any. What the token stands for is not known here."""

from __future__ import annotations

from collections.abc import Iterable

from hmsactd.errors import Unauthenticated

Metadata = Iterable[tuple[str, str | bytes]]
"""The headers of a request, names in lower case."""

TOKEN_MAX = 8192
"""Characters of a token: what HTTP/2 peers accept for all headers together, unless told otherwise."""


def bearer_token(metadata: Metadata) -> str | None:
    """The token of a request; None if it has no authorization at all."""
    found = [value for name, value in metadata if name == "authorization"]
    if not found:
        return None
    if len(found) > 1:
        # Whoever picks one of two decides who is calling: a proxy and we might pick differently.
        raise Unauthenticated("AUTHORIZATION_TWICE", "the request has two authorization headers: send one")
    value = found[0].decode("latin-1") if isinstance(found[0], bytes) else found[0]
    scheme, _, token = value.partition(" ")
    token = token.strip(" ")
    if scheme.lower() != "bearer":
        raise Unauthenticated(
            "SCHEME_UNKNOWN", 'the authorization header has an unknown scheme: send "authorization: Bearer TOKEN"'
        )
    if not token or len(token) > TOKEN_MAX:
        raise Unauthenticated("TOKEN_MALFORMED", f"the bearer token is empty or longer than {TOKEN_MAX} characters")
    return token
