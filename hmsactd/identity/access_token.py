"""From a JWT to what its issuer says of a person (RFC 7519, RFC 9068, RFC 8725). Who they are here is not known here.

Whatever the token says of itself is not believed: the algorithm and the key are chosen by what the settings say of its
issuer, and a header that brings a key, names where to find one or demands what we don't know is refused.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn, Protocol

from joserfc import jws
from joserfc.errors import JoseError
from joserfc.jwk import Key

from hmsactd.errors import Unauthenticated, Unavailable
from hmsactd.identity.credential import NotKnownYet
from hmsactd.identity.key_set import KeySet

ALGORITHMS: Final = ("RS256", "PS256", "ES256", "ES384", "Ed25519", "EdDSA")
"""What a token may be signed by: with a key pair, so that whoever can check it can't make one."""

EMBEDDED: Final = ("jwk", "jku", "x5u", "x5c")
TRY_AGAIN_AFTER_MS: Final = 5_000
SUBJECT_MAX: Final = 255
ROLES_MAX: Final = 100
ACCESS_TOKEN_TYPES: Final = ("at+jwt", "application/at+jwt")
OF_ID_TOKENS: Final = ("nonce", "at_hash", "c_hash", "s_hash")
"""Claims that only a token for the sign-in itself has, where the issuer doesn't name the type of its tokens."""


class Keys(Protocol):
    """The public keys of an issuer."""

    @property
    def current(self) -> KeySet:
        """The keys as they are by now: another object when they are others."""
        ...

    async def refresh(self) -> None:
        """Looks whether there are others by now, if it is time to."""
        ...


@dataclass(frozen=True, slots=True)
class Issuer:
    """What the settings say of one issuer of tokens."""

    url: str
    audience: str
    keys: Keys
    algorithms: tuple[str, ...] = ALGORITHMS
    names_type: bool = True
    """True if its access tokens say that they are (RFC 9068)."""
    roles_claim: tuple[str, ...] = ("roles",)
    """Where in the claims the roles are: ("realm_access", "roles") is `realm_access.roles`."""
    leeway_s: int = 60


@dataclass(frozen=True, slots=True)
class Claims:
    """What an issuer says of a person, and until when. Times are seconds since the epoch."""

    issuer: str
    subject: str
    expires_at: int
    roles: tuple[str, ...] = ()
    name: str = ""
    email: str = ""
    client: str = ""
    """The client that uses the token, as "ISSUER:CLIENT": the actor of an exchanged one, else the one that it was given
    to; "" if it doesn't say."""
    is_of_an_actor: bool = False
    """True if it says itself that somebody uses it for the subject (`act`, RFC 8693)."""
    level: str = ""
    """How strong the sign-in was (`acr`)."""
    signed_in_at: int | None = None


class KeyUnknown(NotKnownYet):
    """Raised if the issuer has no such key as far as we know: it may be a new one."""

    def __init__(self, issuer: Issuer) -> None:
        super().__init__("TOKEN_KEY_UNKNOWN", f"the token is signed by a key that {issuer.url} does not have")
        self._issuer = issuer

    async def ask(self) -> None:
        """Asks the issuer for its keys, if that was not done just now; raises Unavailable if there are none at all."""
        await self._issuer.keys.refresh()
        if not len(self._issuer.keys.current):
            raise Unavailable(
                "ISSUER_UNAVAILABLE",
                f"the keys of {self._issuer.url} can't be had, so that nobody can tell whether the token is good",
                retry_after_ms=TRY_AGAIN_AFTER_MS,
            )


def claims_of(token: str, issuers: Mapping[str, Issuer], now: float) -> Claims:
    """What a token says, if it is one of a known issuer, for us, and valid at `now`; raises Unauthenticated."""
    header, said = _opened(token)
    issuer = _issuer(said, issuers)
    key = _key(header, issuer)
    try:
        checked = jws.deserialize_compact(
            token, key, algorithms=list(issuer.algorithms), registry=_Registry(issuer.algorithms)
        )
    except (JoseError, ValueError) as error:
        raise Unauthenticated("TOKEN_SIGNATURE", "the token is not signed by its issuer") from error
    claims = _object(checked.payload)
    _check_type(header, claims, issuer)
    return _read(claims, issuer, now)


class _Registry(jws.JWSRegistry):
    """Headers of providers are long: they name keys and certificates by their thumbprints."""

    max_header_length = 4096
    max_payload_length = 16384

    def __init__(self, algorithms: Collection[str]) -> None:
        super().__init__(algorithms={*algorithms, "Ed25519"}, strict_check_header=False)

    def get_alg(self, name: str) -> Any:
        """The algorithm of a name that is allowed."""
        # "EdDSA" is deprecated as a name (RFC 9864); providers go on using it for what is called Ed25519 now.
        return super().get_alg("Ed25519" if name == "EdDSA" else name)


def _opened(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims, of which nothing is believed yet."""
    parts = token.split(".")
    if len(parts) != 3:
        _malformed()
    header, claims, _ = parts
    return _object(_decoded(header)), _object(_decoded(claims))


def _decoded(part: str) -> bytes:
    try:
        return base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        _malformed()


def _object(text: bytes | None) -> dict[str, Any]:
    try:
        said = json.loads(text or b"", object_pairs_hook=_once_each)
    except (ValueError, RecursionError):
        _malformed()
    if not isinstance(said, dict):
        _malformed()
    return said


def _once_each(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    said = dict(pairs)
    if len(said) < len(pairs):
        # Which of two is meant, whoever checked the token before us may have read differently.
        raise ValueError
    return said


def _issuer(said: Mapping[str, Any], issuers: Mapping[str, Issuer]) -> Issuer:
    url = said.get("iss")
    issuer = issuers.get(url) if isinstance(url, str) else None
    if issuer is None:
        raise Unauthenticated("TOKEN_ISSUER", "the token is of no issuer that is known here (identity.issuers)")
    return issuer


def _key(header: Mapping[str, Any], issuer: Issuer) -> Key:
    if "crit" in header:
        raise Unauthenticated("TOKEN_CRITICAL", "the token demands extensions (crit) that are not known here")
    if embedded := [name for name in EMBEDDED if name in header]:
        raise Unauthenticated("TOKEN_KEY_EMBEDDED", f"the token brings its own key ({', '.join(embedded)})")
    algorithm, kid = header.get("alg"), header.get("kid")
    if not isinstance(algorithm, str) or algorithm not in issuer.algorithms:
        allowed = ", ".join(issuer.algorithms)
        raise Unauthenticated("TOKEN_ALGORITHM", f"the token is not signed by one of {allowed}")
    if kid is not None and not isinstance(kid, str):
        _malformed()
    key = issuer.keys.current.find(kid, algorithm)
    if key is None:
        raise KeyUnknown(issuer)
    return key


def _check_type(header: Mapping[str, Any], claims: Mapping[str, Any], issuer: Issuer) -> None:
    """An ID token tells a client who has signed in; whoever gets one must not be able to act with it here."""
    kind = header.get("typ")
    is_access_token = isinstance(kind, str) and kind.lower() in ACCESS_TOKEN_TYPES
    if is_access_token:
        return
    if issuer.names_type or any(name in claims for name in OF_ID_TOKENS) or claims.get("typ") in ("ID", "Refresh"):
        raise Unauthenticated("TOKEN_TYPE", "the token is not an access token (typ at+jwt)")


def _read(claims: Mapping[str, Any], issuer: Issuer, now: float) -> Claims:
    audience = claims.get("aud")
    if issuer.audience not in (audience if isinstance(audience, list) else [audience]):
        raise Unauthenticated(
            "TOKEN_AUDIENCE", f"the token is not for this daemon (its audience is not {issuer.audience})"
        )
    subject = claims.get("sub")
    # In ASCII, by OpenID Connect Core, 2: no record holds anything else.
    if not isinstance(subject, str) or not 0 < len(subject) <= SUBJECT_MAX or not _is_plain(subject):
        raise Unauthenticated("TOKEN_SUBJECT", "the token names nobody (sub), or not in printable ASCII")
    if subject in (claims.get("client_id"), claims.get("azp")):
        # Got with the client's own credentials, without anybody who signed in (RFC 9068, 2.2): no program decides.
        raise Unauthenticated(
            "TOKEN_OF_A_PROGRAM", "the token is a program's: programs show a certificate, or a token of `hmsactd token`"
        )
    expires_at = _time(claims, "exp")
    if expires_at is None:
        raise Unauthenticated("TOKEN_ENDLESS", "the token has no end (exp)")
    if now >= expires_at + issuer.leeway_s:
        raise Unauthenticated("TOKEN_EXPIRED", "the token has expired: sign in again")
    if any(now < at - issuer.leeway_s for at in (_time(claims, "nbf"), _time(claims, "iat")) if at is not None):
        raise Unauthenticated("TOKEN_NOT_YET_VALID", "the token is not valid yet: is the clock of one of us wrong?")
    return Claims(
        issuer.url,
        subject,
        expires_at,
        _roles(claims, issuer.roles_claim),
        _text(claims, "name"),
        _text(claims, "email"),
        _client(claims, issuer.url),
        "act" in claims,
        _text(claims, "acr"),
        _time(claims, "auth_time"),
    )


def _roles(claims: Mapping[str, Any], path: Sequence[str]) -> tuple[str, ...]:
    """The roles, where the issuer puts them: a list, or words with spaces between them."""
    here: Any = claims
    for name in path:
        here = here.get(name) if isinstance(here, dict) else None
    if isinstance(here, str):
        here = here.split()
    if not isinstance(here, list):
        return ()
    return tuple(dict.fromkeys(role for role in here[:ROLES_MAX] if isinstance(role, str)))


def _client(claims: Mapping[str, Any], issuer: str) -> str:
    """Who uses the token. Where it names an actor, the client that it was given to may be another; actors before this
    one, nested within it, say nothing (RFC 8693, 4.1).
    """
    name = _text(claims, "client_id") or _text(claims, "azp")
    if "act" in claims:
        act = claims["act"] if isinstance(claims["act"], dict) else {}
        # Names are an issuer's own: that of another's client may be the same by chance, or by somebody's intent.
        name, issuer = _text(act, "sub"), _text({"iss": issuer} | act, "iss")
    return f"{issuer}:{name}" if issuer and name else ""


def _is_plain(text: str) -> bool:
    return text.isascii() and text.isprintable()


def _text(claims: Mapping[str, Any], name: str) -> str:
    said = claims.get(name)
    return said if isinstance(said, str) and len(said) <= SUBJECT_MAX and said.isprintable() else ""


def _time(claims: Mapping[str, Any], name: str) -> int | None:
    said = claims.get(name)
    if said is None:
        return None
    if isinstance(said, bool) or not isinstance(said, int | float) or not abs(said) < 2**40:
        _malformed()
    return int(said)


def _malformed() -> NoReturn:
    raise Unauthenticated("TOKEN_MALFORMED", "the bearer token is neither one of ours nor a JWT")
