"""People by the access tokens that their identity provider gave them."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping
from hashlib import sha256
from typing import Final, NamedTuple

from hmsactd.core.principal import Principal, PrincipalKind
from hmsactd.errors import Unauthenticated
from hmsactd.identity.access_token import Claims, Issuer, claims_of
from hmsactd.identity.credential import Credential
from hmsactd.identity.key_set import KeySet

ROLE: Final = re.compile(r"[a-z][a-z0-9_.-]{0,63}")
"""The name of a role. What else a provider may say, such as "*", is none: no claim gives everything."""

KNOWN_MAX: Final = 10_000
METHOD: Final = "oidc"
SECOND: Final = 1_000_000


class _Checked(NamedTuple):
    """A token that was found to be good, by these keys of its issuer."""

    credential: Credential
    issuer: Issuer
    keys: KeySet


class AccessTokens:
    """Tokens of known issuers. Each is checked once, and kept by its digest while its issuer's keys are the same."""

    def __init__(self, issuers: Mapping[str, Issuer], roles: Mapping[str, tuple[str, ...]]) -> None:
        self._issuers = issuers
        self._roles = roles
        self._known: OrderedDict[bytes, _Checked] = OrderedDict()

    def credential(self, token: str, now: int) -> Credential | None:
        """Whom it stands for; None if it is no JWT. Raises Unauthenticated, NotKnownYet if its key may be new."""
        if token.count(".") != 2:
            return None
        digest = sha256(token.encode()).digest()
        known = self._known.get(digest)
        if known is None or known.keys is not known.issuer.keys.current:
            # Its key may have been taken back since.
            self._known.pop(digest, None)
            known = self._known[digest] = self._check(token, now)
            if len(self._known) > KNOWN_MAX:
                self._known.popitem(last=False)
        credential = known.credential
        if credential.ends_at is not None and now >= credential.ends_at:
            self._known.pop(digest, None)
            raise Unauthenticated("TOKEN_EXPIRED", "the token has expired: sign in again")
        return credential

    def _check(self, token: str, now: int) -> _Checked:
        claims = claims_of(token, self._issuers, now / SECOND)
        issuer = self._issuers[claims.issuer]
        ends_at = (claims.expires_at + issuer.leeway_s) * SECOND
        credential = Credential(self._principal(claims), ends_at, claims.client, claims.is_of_an_actor)
        return _Checked(credential, issuer, issuer.keys.current)

    def _principal(self, claims: Claims) -> Principal:
        given = (*claims.roles, *self._roles.get(f"{claims.issuer}:{claims.subject}", ()))
        roles = tuple(dict.fromkeys(role for role in given if ROLE.fullmatch(role)))
        return Principal(PrincipalKind.PERSON, claims.issuer, claims.subject, roles, METHOD)
