"""Whom a program acts for: verified by the person's own token, and only by one that this program has got."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from hmsactd.core.principal import Principal, PrincipalKind
from hmsactd.errors import HmsactdError, PermissionDenied, Unauthenticated
from hmsactd.identity.access_token import Issuer
from hmsactd.identity.api_token import ApiToken, digest_of, make_token
from hmsactd.identity.api_tokens import TokenFile
from hmsactd.identity.authenticate import ON_BEHALF_OF
from hmsactd.identity.credential import Credential, Door, NotKnownYet
from hmsactd.identity.identity import Identity, development
from hmsactd.identity.key_set import parse
from hmsactd.identity.people import AccessTokens
from hmsactd.identity.workload import ApiTokens, Workload
from tests.identity.issuing import AUDIENCE, EC, ED, NOW, RSA, STRANGER, URL, Kept, forged, key_set, said, token

OTHER_URL = "https://citizens.gov"
NOW_US = NOW * 1_000_000
PERSON = f"{URL}:248289761001"
WORKLOADS = {
    each.name: each
    for each in (
        Workload("portal", clients=(f"{URL}:portal",), roles=("clerk",)),
        Workload("irs"),
        Workload("casebot", PrincipalKind.AGENT, responsible=f"{URL}:7", clients=(f"{URL}:portal", f"{URL}:chat")),
    )
}


class Agency:
    """An identity of two issuers, with a token of each program."""

    def __init__(self, directory: Path) -> None:
        self.keys = Kept()
        self.now = NOW_US
        issuers = {url: Issuer(url, AUDIENCE, self.keys) for url in (URL, OTHER_URL)}
        file = TokenFile(directory)
        self.tokens = {name: make_token() for name in WORKLOADS}
        for name, made in self.tokens.items():
            file.add(ApiToken(name, name, digest_of(made), NOW_US, NOW_US + 200_000_000))
        file.look()
        doors: list[Door] = [AccessTokens(issuers, {}), ApiTokens(WORKLOADS, file)]
        self.identity = Identity(doors, workloads=WORKLOADS, now=lambda: self.now)

    def shown(self, program: str, *people: str | bytes) -> Credential:
        """Whom a program stands for that shows these tokens of people."""
        return self.headers(self.tokens[program], *people)

    def headers(self, own: str, *people: str | bytes) -> Credential:
        own_header = ("authorization", f"Bearer {own}")
        return self.identity.credential_of([own_header, *((ON_BEHALF_OF, each) for each in people)])

    def refusal(self, program: str, *people: str | bytes) -> str:
        with pytest.raises(HmsactdError) as refused:
            self.shown(program, *people)
        return f"{refused.value.code} {refused.value.reason}"


@pytest.fixture
def agency(tmp_path: Path) -> Agency:
    return Agency(tmp_path)


# -- who is let through ------------------------------------------------------------------------------------------------


def test_a_program_acts_for_whoever_has_signed_in_at_its_client_and_stays_who_it_is(agency: Agency) -> None:
    principal = agency.shown("portal", token()).principal
    assert principal == Principal(PrincipalKind.SERVICE, "workload", "portal", ("clerk",), "token", on_behalf_of=PERSON)
    assert (principal.id, principal.person, principal.people) == ("workload:portal", None, (PERSON,))
    assert agency.shown("portal").principal.on_behalf_of is None


def test_roles_are_never_gathered_from_both(agency: Agency) -> None:
    """The person is an officer; the program may what programs may."""
    principal = agency.shown("portal", token(said(roles=["hmsact.operator"]))).principal
    assert agency.identity.permissions_of(principal) == agency.identity.permissions_of(agency.shown("portal").principal)
    assert not agency.identity.may(principal, "checkpoint.decide")


def test_an_agent_has_somebody_who_is_responsible_and_somebody_it_acts_for(agency: Agency) -> None:
    principal = agency.shown("casebot", token(said(client_id="chat"))).principal
    assert principal.people == (f"{URL}:7", PERSON)


@pytest.mark.parametrize(
    "claims",
    [
        {"client_id": None, "azp": "portal"},
        {"act": {"sub": "portal"}},
        {"client_id": "desk", "act": {"sub": "portal", "act": {"sub": "desk"}}},
        {"act": {"sub": "portal", "iss": URL}},
    ],
)
def test_an_exchanged_token_is_its_actors(agency: Agency, claims: Mapping[str, Any]) -> None:
    assert agency.shown("portal", token(said(**claims))).principal.on_behalf_of == PERSON


def test_it_ends_with_whichever_credential_ends_first(agency: Agency) -> None:
    assert agency.shown("portal", token(said(exp=NOW + 100))).ends_at == (NOW + 160) * 1_000_000
    assert agency.shown("portal", token(said(exp=NOW + 1000))).ends_at == NOW_US + 200_000_000
    shown = token(said(exp=NOW + 100))
    agency.shown("portal", shown)
    agency.now += 161_000_000
    assert agency.refusal("portal", shown) == "UNAUTHENTICATED ON_BEHALF_OF_TOKEN_EXPIRED"
    agency.now += 50_000_000
    assert agency.refusal("portal", shown) == "UNAUTHENTICATED TOKEN_EXPIRED", "its own"


def test_who_is_acted_for_is_not_noted_among_those_who_may_decide(agency: Agency) -> None:
    """A million citizens of a portal would leave no room for officers."""
    agency.shown("portal", token())
    assert agency.identity.person(PERSON) is None


def test_a_key_that_is_not_known_yet_is_asked_for(agency: Agency) -> None:
    agency.keys.current = parse(key_set(RSA))
    with pytest.raises(NotKnownYet) as unknown:
        agency.shown("portal", token())
    assert unknown.value.reason == "ON_BEHALF_OF_TOKEN_KEY_UNKNOWN"
    asyncio.run(unknown.value.ask())
    assert agency.keys.asked == 1
    agency.keys.current = parse(key_set(EC, ED))
    assert agency.shown("portal", token()).principal.on_behalf_of == PERSON


def test_in_development_a_token_chooses_the_person_too() -> None:
    headers = [("authorization", "Bearer dev:svc/portal"), (ON_BEHALF_OF, "dev:jdavis@fsa.gov")]
    principal = development().credential_of(headers).principal
    assert (principal.id, principal.on_behalf_of) == ("dev:svc/portal", "dev:jdavis@fsa.gov")
    for own, shown in (("dev:tlee@fsa.gov", "dev:jdavis@fsa.gov"), ("dev:svc/portal", "dev:svc/IRS")):
        with pytest.raises(PermissionDenied):
            development().credential_of([("authorization", f"Bearer {own}"), (ON_BEHALF_OF, shown)])
    with pytest.raises(PermissionDenied):
        development().credential_of([(ON_BEHALF_OF, "dev:jdavis@fsa.gov")])


# -- who isn't ---------------------------------------------------------------------------------------------------------

HEADER = {"alg": "ES256", "kid": "ec", "typ": "at+jwt"}


@pytest.mark.parametrize(
    ("shown", "reason"),
    [
        (forged({**HEADER, "alg": "none"}, said()), "TOKEN_ALGORITHM"),
        (forged(HEADER, said()), "TOKEN_SIGNATURE"),
        (token(key=STRANGER), "TOKEN_SIGNATURE"),
        (token(jku="https://portal.gov/keys"), "TOKEN_KEY_EMBEDDED"),
        (forged(HEADER | {"crit": ["x"]}, said()), "TOKEN_CRITICAL"),
        (token(said(iss=f"{URL}/")), "TOKEN_ISSUER"),
        (token(said(aud="portal")), "TOKEN_AUDIENCE"),
        (token(typ="JWT"), "TOKEN_TYPE"),
        (token(said(exp=NOW - 61)), "TOKEN_EXPIRED"),
        (token(said(nbf=NOW + 90)), "TOKEN_NOT_YET_VALID"),
        (token(said(sub="portal")), "TOKEN_OF_A_PROGRAM"),
        ("Bearer " + token(), "TOKEN_MALFORMED"),
        ("jdavis", "TOKEN_UNKNOWN"),
        ("dev:jdavis@fsa.gov", "TOKEN_UNKNOWN"),
        (PERSON, "TOKEN_MALFORMED"),
        ("a.b.c", "TOKEN_MALFORMED"),
        ("", "TOKEN_MALFORMED"),
        ("x" * 8193, "TOKEN_MALFORMED"),
        (b"\xff.\xfe.\xfd", "TOKEN_MALFORMED"),
    ],
)
def test_a_token_that_lets_no_person_in_is_no_good_here_either(agency: Agency, shown: str | bytes, reason: str) -> None:
    assert agency.refusal("portal", shown) == f"UNAUTHENTICATED ON_BEHALF_OF_{reason}"


def test_two_are_refused_even_if_they_agree(agency: Agency) -> None:
    assert agency.refusal("portal", token(), token()) == "UNAUTHENTICATED ON_BEHALF_OF_TWICE"


@pytest.mark.parametrize(
    ("program", "claims"),
    [
        ("portal", {"client_id": "desk"}),
        ("portal", {"client_id": "Portal"}),
        ("portal", {"client_id": None}),
        ("portal", {"client_id": "desk", "azp": "portal"}),
        # Names of clients are their issuer's own.
        ("portal", {"iss": OTHER_URL}),
        # It was given to the portal, and somebody else uses it.
        ("portal", {"act": {"sub": "desk"}}),
        ("portal", {"act": {"sub": "desk", "act": {"sub": "portal"}}}),
        ("portal", {"act": {"sub": "portal", "iss": OTHER_URL}}),
        ("portal", {"act": {"iss": URL}}),
        ("portal", {"act": ["portal"]}),
        ("portal", {"act": None, "client_id": "desk"}),
        ("irs", {}),
        ("irs", {"client_id": None}),
        ("irs", {"client_id": "irs"}),
        ("casebot", {"client_id": "desk"}),
    ],
)
def test_a_token_that_another_program_has_got_is_of_no_use(
    agency: Agency, program: str, claims: Mapping[str, Any]
) -> None:
    assert agency.refusal(program, token(said(**claims))) == "PERMISSION_DENIED ON_BEHALF_OF_NOT_ALLOWED"


def test_nobody_acts_for_a_program(agency: Agency) -> None:
    shown = agency.tokens["irs"]
    assert agency.refusal("portal", shown) == "PERMISSION_DENIED ON_BEHALF_OF_A_PROGRAM"


def test_a_person_acts_for_nobody_else(agency: Agency) -> None:
    own = token(said(sub="clerk"))
    for shown in (token(), own, "nonsense"):
        with pytest.raises(PermissionDenied) as refused:
            agency.headers(own, shown)
        assert refused.value.reason == "ON_BEHALF_OF_NOT_ALLOWED"


def test_without_a_credential_of_ones_own_nobody_is_acted_for(agency: Agency) -> None:
    with pytest.raises(Unauthenticated) as refused:
        agency.identity.credential_of([(ON_BEHALF_OF, token())])
    assert refused.value.reason == "TOKEN_MISSING"


def test_a_token_that_says_that_somebody_else_uses_it_is_not_the_persons(agency: Agency) -> None:
    """A program that has exchanged a token does not decide with it."""
    for act in ({"sub": "portal"}, {}, "portal", None):
        claims = said() | {"act": act}
        with pytest.raises(Unauthenticated) as refused:
            agency.headers(token(claims))
        assert refused.value.reason == "TOKEN_OF_AN_ACTOR"


def test_no_refusal_repeats_a_token(agency: Agency) -> None:
    for shown in (token(said(client_id="desk")), token(said(aud="x")), "s3cret", "s3cret.s3cret.s3cret"):
        with pytest.raises(HmsactdError) as refused:
            agency.shown("portal", shown)
        told = f"{refused.value} {refused.value.sentence} {json.dumps(refused.value.metadata)}"
        assert shown not in told
        assert shown.rpartition(".")[2] not in told
