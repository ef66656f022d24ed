"""Whatever is wrong with a token, nobody gets in by it; what is right with it, somebody is."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import ECKey, Key, OctKey

from hmsactd.core.principal import PrincipalKind
from hmsactd.errors import Unauthenticated, Unavailable
from hmsactd.identity.access_token import Claims, Issuer, KeyUnknown, claims_of
from hmsactd.identity.credential import NotKnownYet
from hmsactd.identity.key_set import BadKeySet, KeySet, parse
from hmsactd.identity.people import AccessTokens
from tests.identity.issuing import AUDIENCE, EC, ED, NOW, RSA, STRANGER, URL, Kept, forged, key_set, part, said, token

ISSUER = Issuer(URL, AUDIENCE, Kept())
OTHER = Issuer("https://idp.fsa.gov.evil.example", "other", Kept(STRANGER))
ISSUERS = {issuer.url: issuer for issuer in (ISSUER, OTHER)}
TWICE = b'{"alg":"none","alg":"ES256","typ":"at+jwt"}'
HEADER = {"alg": "ES256", "kid": "ec", "typ": "at+jwt"}


def refusal(shown: str, now: float = NOW, issuers: dict[str, Issuer] = ISSUERS) -> str:
    with pytest.raises(Unauthenticated) as refused:
        claims_of(shown, issuers, now)
    assert len(shown) < 20 or shown not in str(refused.value)
    return refused.value.reason


# -- who gets in -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "algorithm"), [(EC, "ES256"), (RSA, "RS256"), (RSA, "PS256"), (ED, "Ed25519"), (ED, "EdDSA")]
)
def test_a_good_token_is_read(key: Key, algorithm: str) -> None:
    claims = claims_of(token(key=key, algorithm=algorithm), ISSUERS, NOW)
    assert claims == Claims(URL, "248289761001", NOW + 300, ("fsa.officer",), "Jo Davis", "", f"{URL}:portal")


def test_for_several_audiences_and_without_a_key_id_where_there_is_one_key() -> None:
    only = {URL: Issuer(URL, AUDIENCE, Kept(EC))}
    assert claims_of(token(said(aud=["account", AUDIENCE]), kid=None), only, NOW).subject == "248289761001"


@pytest.mark.parametrize(
    ("path", "claims", "roles"),
    [
        (("roles",), {"roles": ["a", "b", "a", 7]}, ("a", "b")),
        (("realm_access", "roles"), {"realm_access": {"roles": ["a"]}}, ("a",)),
        (("scope",), {"scope": "a b"}, ("a", "b")),
        (("groups",), {}, ()),
        (("groups", "deeper"), {"groups": ["a"]}, ()),
        (("groups",), {"groups": {"a": 1}}, ()),
    ],
)
def test_roles_are_where_the_settings_say(
    path: tuple[str, ...], claims: dict[str, Any], roles: tuple[str, ...]
) -> None:
    issuer = Issuer(URL, AUDIENCE, Kept(), roles_claim=path)
    assert claims_of(token(said(**{"roles": None} | claims)), {URL: issuer}, NOW).roles == roles


def test_no_claim_gives_every_role() -> None:
    known = AccessTokens(ISSUERS, {})
    credential = known.credential(token(said(roles=["*", "fsa.officer", "Ünicode", "a" * 65])), NOW * 1_000_000)
    assert credential is not None
    assert credential.principal.roles == ("fsa.officer",)
    assert credential.principal.kind is PrincipalKind.PERSON


@pytest.mark.parametrize(
    ("claims", "client"),
    [
        ({}, f"{URL}:portal"),
        ({"client_id": None, "azp": "desk"}, f"{URL}:desk"),
        ({"client_id": None}, ""),
        # Exchanged: whoever it was given to says nothing, nor do actors before this one (RFC 8693, 4.1).
        ({"act": {"sub": "desk", "act": {"sub": "portal"}}}, f"{URL}:desk"),
        ({"act": {"sub": "desk", "iss": URL}}, f"{URL}:desk"),
        ({"act": {"sub": "portal", "iss": "https://elsewhere.gov"}}, "https://elsewhere.gov:portal"),
        ({"act": {"sub": "portal", "iss": 7}}, ""),
        ({"act": {"client_id": "portal"}}, ""),
        ({"act": {"sub": ["portal"]}}, ""),
        ({"act": {}}, ""),
        ({"act": "portal"}, ""),
    ],
)
def test_which_client_uses_a_token_is_the_actor_if_it_names_one(claims: dict[str, Any], client: str) -> None:
    read = claims_of(token(said(**claims)), ISSUERS, NOW)
    assert (read.client, read.is_of_an_actor) == (client, "act" in claims)


# -- who doesn't -------------------------------------------------------------------------------------------------------


def test_unsigned() -> None:
    assert refusal(forged({"alg": "none", "typ": "at+jwt"}, said())) == "TOKEN_ALGORITHM"
    assert refusal(forged({"alg": "None", "typ": "at+jwt"}, said())) == "TOKEN_ALGORITHM"
    assert refusal(forged(HEADER, said())) == "TOKEN_SIGNATURE"


def test_signed_with_the_public_key_as_if_it_were_a_shared_secret() -> None:
    for secret in (RSA.as_pem(private=False), json.dumps(RSA.as_dict(private=False)).encode()):
        head = f"{part({'alg': 'HS256', 'kid': 'rsa', 'typ': 'at+jwt'})}.{part(said())}"
        mac = hmac.digest(secret, head.encode(), hashlib.sha256)
        assert refusal(f"{head}.{part(mac)}") == "TOKEN_ALGORITHM"


def test_signed_by_another_key_of_the_same_name() -> None:
    assert refusal(token(key=STRANGER)) == "TOKEN_SIGNATURE"


def test_signed_by_a_key_that_the_issuer_does_not_have() -> None:
    with pytest.raises(NotKnownYet) as unknown:
        claims_of(token(key=ECKey.generate_key("P-256", {"kid": "new"})), ISSUERS, NOW)
    assert unknown.value.reason == "TOKEN_KEY_UNKNOWN"


def test_signed_by_the_key_of_another_issuer() -> None:
    issuers = {**ISSUERS, URL: Issuer(URL, AUDIENCE, Kept(RSA))}
    assert refusal(token(key=STRANGER), issuers=issuers) == "TOKEN_KEY_UNKNOWN"


def test_by_an_algorithm_that_is_not_the_keys() -> None:
    assert refusal(token(key=EC, kid="rsa")) == "TOKEN_KEY_UNKNOWN"
    only_rsa = {URL: Issuer(URL, AUDIENCE, Kept(), algorithms=("RS256",))}
    assert refusal(token(), issuers=only_rsa) == "TOKEN_ALGORITHM"


@pytest.mark.parametrize("embedded", ["jwk", "jku", "x5u", "x5c"])
def test_bringing_its_own_key(embedded: str) -> None:
    value: Any = STRANGER.as_dict(private=False) if embedded == "jwk" else ["x"] if embedded == "x5c" else "https://x"
    shown = forged(HEADER | {embedded: value}, said(), b"x")
    assert refusal(shown) == "TOKEN_KEY_EMBEDDED"


@pytest.mark.parametrize("crit", [["b64"], ["exp"], ["unheard-of"], []])
def test_demanding_what_is_not_known(crit: list[str]) -> None:
    assert refusal(forged(HEADER | {"crit": crit, "b64": True}, said(), b"x")) == "TOKEN_CRITICAL"


@pytest.mark.parametrize(
    "url", ["https://idp.fsa.gov/", "https://idp.fsa.go", "HTTPS://idp.fsa.gov", "", None, 7, [URL]]
)
def test_of_an_issuer_that_only_looks_like_one(url: Any) -> None:
    assert refusal(token(said(iss=url))) == "TOKEN_ISSUER"


@pytest.mark.parametrize("audience", ["hmsact", "hmsactd ", ["account"], [], None, 7, {"hmsactd": 1}])
def test_for_somebody_else(audience: Any) -> None:
    assert refusal(token(said(aud=audience))) == "TOKEN_AUDIENCE"


def test_in_time() -> None:
    shown = token(said(nbf=NOW - 10))
    assert claims_of(shown, ISSUERS, NOW + 359).subject
    assert refusal(shown, NOW + 360) == "TOKEN_EXPIRED"
    assert claims_of(shown, ISSUERS, NOW - 65).subject
    assert refusal(shown, NOW - 71) == "TOKEN_NOT_YET_VALID"
    assert refusal(token(said(iat=NOW + 61))) == "TOKEN_NOT_YET_VALID"
    assert refusal(token(said(exp=None))) == "TOKEN_ENDLESS"


@pytest.mark.parametrize("when", ["tomorrow", True, [1], 2**60, -(2**60), float("inf")])
def test_times_that_are_none(when: Any) -> None:
    for claim in ("exp", "nbf", "iat"):
        assert refusal(token(said(**{claim: when}))) == "TOKEN_MALFORMED"


@pytest.mark.parametrize("subject", [None, "", "x" * 256, 7, "a\nb", "a\u202eb", "jörg"])
def test_of_nobody(subject: Any) -> None:
    assert refusal(token(said(sub=subject))) == "TOKEN_SUBJECT"


def test_an_id_token_is_no_access_token() -> None:
    assert refusal(token(typ="JWT")) == "TOKEN_TYPE"
    assert refusal(token(typ=None)) == "TOKEN_TYPE"
    silent = {URL: Issuer(URL, AUDIENCE, Kept(), names_type=False)}
    assert claims_of(token(typ="JWT"), silent, NOW).subject
    for claim in ("nonce", "at_hash", "c_hash", "s_hash"):
        assert refusal(token(said(**{claim: "x"}), typ="JWT"), issuers=silent) == "TOKEN_TYPE"
    assert refusal(token(said(typ="ID"), typ="JWT"), issuers=silent) == "TOKEN_TYPE"


@pytest.mark.parametrize(
    "shown",
    [
        "",
        "a",
        "a.b",
        "a.b.c",
        "a.b.c.d",
        "....",
        forged({}, said()).replace("e30", "e3"),
        f"{part(HEADER)}.{part([])}.x",
        f"{part([])}.{part(said())}.x",
        f"{part(HEADER)}.{part(b'{')}.x",
        f"{part(HEADER)}.{part(b'[' * 100_000)}.x",
        f"{part(TWICE)}.{part(said())}.x",
        f"{part(HEADER)} .{part(said())}.x",
    ],
)
def test_what_is_no_token(shown: str) -> None:
    assert refusal(shown) == "TOKEN_MALFORMED"


@pytest.mark.parametrize("kid", [7, ["ec"], {"a": 1}, True])
def test_a_key_name_that_is_none(kid: Any) -> None:
    assert refusal(forged(HEADER | {"kid": kid}, said(), b"x")) == "TOKEN_MALFORMED"


@given(st.data())
def test_changed_in_any_place(data: st.DataObject) -> None:
    shown = token()
    at = data.draw(st.integers(0, len(shown) - 1))
    letter = data.draw(st.sampled_from("abcXYZ019-_.~ \n=")).replace(shown[at], "")
    changed = shown[:at] + letter + shown[at + 1 :]
    with pytest.raises(Unauthenticated):
        claims_of(changed, ISSUERS, NOW)


# -- kept --------------------------------------------------------------------------------------------------------------


def test_what_was_checked_is_kept_until_it_ends() -> None:
    known = AccessTokens(ISSUERS, {})
    shown = token()
    first = known.credential(shown, NOW * 1_000_000)
    assert known.credential(shown, NOW * 1_000_000 + 1) is first
    with pytest.raises(Unauthenticated, match="expired"):
        known.credential(shown, (NOW + 360) * 1_000_000)


def test_settings_give_roles_beside_those_of_the_token() -> None:
    known = AccessTokens(ISSUERS, {f"{URL}:248289761001": ("fsa.counsel",)})
    credential = known.credential(token(), NOW * 1_000_000)
    assert credential is not None
    assert credential.principal.roles == ("fsa.officer", "fsa.counsel")
    assert credential.principal.id == f"{URL}:248289761001"


def test_other_kinds_of_token_are_left_to_others() -> None:
    assert AccessTokens(ISSUERS, {}).credential("dev:casebot", NOW) is None


# -- keys --------------------------------------------------------------------------------------------------------------


def test_shared_secrets_and_private_and_weak_keys_are_not_taken() -> None:
    secret = OctKey.generate_key(256, {"kid": "s"})
    with pytest.raises(BadKeySet, match="no key"):
        parse(json.dumps({"keys": [secret.as_dict(private=True)]}).encode())
    with pytest.raises(BadKeySet, match="private"):
        parse(json.dumps({"keys": [EC.as_dict(private=True)]}).encode())
    weak = json.dumps({"keys": [{"kty": "RSA", "n": "wg", "e": "AQAB"}, {"kty": "ML-DSA"}, {"kty": "EC"}, 7]})
    with pytest.raises(BadKeySet, match="no key"):
        parse(weak.encode())
    assert len(parse(json.dumps({"keys": [{"kty": "ML-DSA"}, EC.as_dict(private=False)]}).encode())) == 1
    for text in (b"", b"[]", b'{"keys": 7}', b"{" * 100_000, b" " * 300_000):
        with pytest.raises(BadKeySet):
            parse(text)


def test_a_key_for_encryption_signs_nothing() -> None:
    assert parse(key_set(EC, ECKey.generate_key("P-256", {"kid": "e", "use": "enc"}))).find("e", "ES256") is None


# -- what is kept ------------------------------------------------------------------------------------------------------


def test_a_token_ends_with_its_key_although_it_was_checked_before() -> None:
    keys = Kept(EC, RSA)
    door = AccessTokens({URL: Issuer(URL, AUDIENCE, keys)}, {})
    shown, now = token(), NOW * 1_000_000
    first = door.credential(shown, now)
    assert first is not None
    assert door.credential(shown, now) is first, "it is checked once"
    keys.current = Kept(RSA).current
    with pytest.raises(KeyUnknown):
        door.credential(shown, now)
    keys.current = Kept(EC).current
    assert door.credential(shown, now) == first


async def test_without_any_keys_the_issuer_is_at_fault_and_not_the_token() -> None:
    keys = Kept(EC)
    keys.current = KeySet()
    with pytest.raises(KeyUnknown) as unknown:
        claims_of(token(), {URL: Issuer(URL, AUDIENCE, keys)}, NOW)
    with pytest.raises(Unavailable, match="can't be had"):
        await unknown.value.ask()
    assert keys.asked == 1


@pytest.mark.parametrize("claim", ["client_id", "azp"])
def test_a_token_that_a_client_got_for_itself_is_no_persons(claim: str) -> None:
    assert refusal(token(said(sub="batch", **{claim: "batch"}))) == "TOKEN_OF_A_PROGRAM"
