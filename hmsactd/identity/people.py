"""People by the access tokens that their identity provider gave them."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping
from hashlib import sha256
from typing import Final

from hmsactd.core.principal import Principal, PrincipalKind
from hmsactd.errors import Unauthenticated
from hmsactd.identity.access_token import Claims, Issuer, claims_of
from hmsactd.identity.credential import Credential

ROLE: Final = re.compile(r"[a-z][a-z0-9_.-]{0,63}")
"""The name of a role. What else a provider may say, such as "*", is none: no claim gives everything."""

KNOWN_MAX: Final = 10_000
METHOD: Final = "oidc"
SECOND: Final = 1_000_000


class AccessTokens:
    """Tokens of known issuers. Each is checked once, and kept by its digest until it has expired."""

    def __init__(self, issuers: Mapping[str, Issuer], roles: Mapping[str, tuple[str, ...]]) -> None:
        self._issuers = issuers
        self._roles = roles
        self._known: OrderedDict[bytes, Credential] = OrderedDict()

    def credential(self, token: str, now: int) -> Credential | None:
        """Whom it stands for; None if it is no JWT. Raises Unauthenticated, NotKnownYet if its key may be new."""
        if token.count(".") != 2:
            return None
        digest = sha256(token.encode()).digest()
        credential = self._known.get(digest)
        if credential is None:
            claims = claims_of(token, self._issuers, now / SECOND)
            ends_at = (claims.expires_at + self._issuers[claims.issuer].leeway_s) * SECOND
            credential = self._known[digest] = Credential(self._principal(claims), ends_at)
            if len(self._known) > KNOWN_MAX:
                self._known.popitem(last=False)
        if credential.ends_at is not None and now >= credential.ends_at:
            self._known.pop(digest, None)
            raise Unauthenticated("TOKEN_EXPIRED", "the token has expired: sign in again")
        return credential

    def _principal(self, claims: Claims) -> Principal:
        given = (*claims.roles, *self._roles.get(f"{claims.issuer}:{claims.subject}", ()))
        roles = tuple(dict.fromkeys(role for role in given if ROLE.fullmatch(role)))
        return Principal(PrincipalKind.PERSON, claims.issuer, claims.subject, roles, METHOD)
