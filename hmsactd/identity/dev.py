"""The built-in identities of --dev, chosen by the token alone: whoever can reach the port can be any of them."""

from __future__ import annotations

import re

from hmsactd.core.principal import EVERY_ROLE, Principal, PrincipalKind
from hmsactd.identity.credential import Credential

ISSUER = "dev"
OFFICER = "fsa.officer"
COUNSEL = "fsa.counsel"


def _person(subject: str, *roles: str) -> Principal:
    return Principal(PrincipalKind.PERSON, ISSUER, subject, roles, method=ISSUER)


DEVELOPER = _person("developer", EVERY_ROLE)
CASEBOT = Principal(PrincipalKind.AGENT, ISSUER, "casebot", method=ISSUER, responsible=DEVELOPER.id)

PEOPLE = (
    DEVELOPER,
    _person("jdavis@fsa.gov", OFFICER),
    _person("mgarcia@fsa.gov", OFFICER, COUNSEL),
    _person("tlee@fsa.gov", OFFICER),
)

ASSIGN = {OFFICER: "dev:jdavis@fsa.gov"}
"""To whom checkpoints of a role are assigned with --dev, unless the settings say otherwise."""

SERVICE_SUBJECT = "svc/"
SERVICE_TOKEN = re.compile(r"dev:(svc/[A-Za-z0-9][A-Za-z0-9._-]{0,63})")

_BY_TOKEN = {principal.id: principal for principal in (*PEOPLE, CASEBOT)}


class Tokens:
    """Bearer tokens that choose an identity."""

    def credential(self, token: str, now: int) -> Credential | None:
        """Whom the token chooses; None if it chooses nobody."""
        service = SERVICE_TOKEN.fullmatch(token)
        if service is not None:
            return Credential(Principal(PrincipalKind.SERVICE, ISSUER, service[1], method=ISSUER))
        principal = _BY_TOKEN.get(token)
        return None if principal is None else Credential(principal)


def may_act_for(principal: Principal, person: Principal) -> bool:
    """True if both are chosen by a token: nobody has signed in at all."""
    return principal.issuer == person.issuer == ISSUER


def serves(principal: Principal, svc: str) -> bool:
    """True for the service of that name, as a token has chosen it."""
    return principal.issuer == ISSUER and principal.subject == SERVICE_SUBJECT + svc
