"""Who may call, as the settings have it: identity providers, workloads, people, and what their roles give."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from hmsactd.identity.access_token import ALGORITHMS
from hmsactd.identity.address import is_safe
from hmsactd.identity.people import ROLE
from hmsactd.identity.permissions import BUILT_IN, DECIDE, KNOWN
from hmsactd.identity.workload import NAME
from hmsactd.settings.called import service_name
from hmsactd.settings.values import Duration, Section, Span

LEEWAY_MAX_MS: Final = 300_000


def _web(said: str) -> str:
    """An address that is asked for what is believed: over TLS, or on this machine."""
    if not is_safe(said):
        raise ValueError('is not an address such as "https://idp.agency.gov/realms/staff"')
    return said


def _role(said: str) -> str:
    if not ROLE.fullmatch(said):
        raise ValueError(f"{said!r}: no role can be called so: a letter, then letters, digits, _, . and -, at most 64")
    return said


def _permission(said: str) -> str:
    if said not in KNOWN:
        raise ValueError(f"there is no permission {said!r}; there are {', '.join(sorted(KNOWN))}")
    return said


def _person(said: str) -> str:
    issuer, _, subject = said.rpartition(":")
    if not issuer or not subject or not said.isascii():
        raise ValueError('is not a person: "ISSUER:SUBJECT", as in "https://idp.agency.gov:248289761001"')
    return said


def _client(said: str) -> str:
    issuer, _, client = said.rpartition(":")
    if not issuer or not client:
        raise ValueError(f'{said!r} is not a client: "ISSUER:CLIENT", as in "https://idp.agency.gov:loans-portal"')
    return said


def _workload(said: str) -> str:
    if not NAME.fullmatch(said):
        raise ValueError("no workload can be called so: a letter, then letters, digits, _, . and -, at most 64")
    return said


Web = Annotated[str, AfterValidator(_web)]
Role = Annotated[str, AfterValidator(_role)]


class IssuerSection(Section):
    """An identity provider whose access tokens let people in: `[identity.issuers.NAME]`."""

    url: Web
    """What its tokens say of their issuer (`iss`), compared letter by letter. Default: none, it has to be said."""
    audience: Annotated[str, Field(min_length=1, max_length=255)] = "hmsactd"
    """What its tokens must say of whom they are for (`aud`). Default "hmsactd"."""
    keys_url: Web | None = None
    """Where its public keys are (a JWK set). Default: where its own description says (OpenID Connect Discovery)."""
    keys_file: Path | None = None
    """A file with its public keys instead, read again when it changes. Default: none."""
    ca_file: Path | None = None
    """The authorities, PEM, by which its site is known. Default: those of the system."""
    algorithms: tuple[Literal["RS256", "PS256", "ES256", "ES384", "Ed25519", "EdDSA"], ...] = ALGORITHMS
    """By what its tokens may be signed. Default: RS256, PS256, ES256, ES384, Ed25519 and EdDSA."""
    names_type: bool = True
    """Whether its access tokens say that they are (`typ` at+jwt, RFC 9068). Default true; set it to false for a
    provider that calls every token "JWT": a token with the marks of an ID token is refused all the same."""
    roles_claim: Annotated[str, Field(min_length=1, max_length=255)] = "roles"
    """Where in its tokens the roles are; dots lead inwards, as in "realm_access.roles". Default "roles"."""
    leeway: Duration = Span(60_000)
    """How far its clock may be from ours. Default 60s."""

    @field_validator("keys_file")
    @classmethod
    def _one_source(cls, said: Path | None, info: ValidationInfo) -> Path | None:
        if said is not None and info.data.get("keys_url") is not None:
            raise ValueError("says where the keys are a second time: keys_url says it too")
        return said

    @field_validator("leeway")
    @classmethod
    def _not_for_ever(cls, said: Span) -> Span:
        if said.ms > LEEWAY_MAX_MS:
            raise ValueError(f"{said} is too long: at most 5m, or a token that has expired is none that has")
        return said


class WorkloadSection(Section):
    """A program that may call: `[identity.workloads.NAME]`. Tokens for it are made by `hmsactd token create NAME`."""

    kind: Literal["service", "agent"] = "service"
    """What it is: a service does steps and starts operations; an agent acts for a person who is responsible. Default
    "service"."""
    certificate: Annotated[str, Field(min_length=1, max_length=300)] | None = None
    """Whose certificate is its own: "spiffe://TRUST.DOMAIN/PATH", or "x509:SUBJECT" as RFC 4514 writes it. Default:
    none, it is known by its tokens."""
    serves: tuple[Annotated[str, AfterValidator(service_name)], ...] = ()
    """The services whose steps it may do. Default: none."""
    roles: tuple[Role, ...] = ()
    """What else it may, by the permissions of these roles. Default: none. No role lets a program decide."""
    responsible: Annotated[str, AfterValidator(_person)] | None = None
    """The person ("ISSUER:SUBJECT") who is responsible for what an agent does. Default: none; an agent needs one."""
    clients: tuple[Annotated[str, AfterValidator(_client)], ...] = ()
    """The clients that it is to identity providers ("ISSUER:CLIENT"): it may act for whoever has signed in there, and
    shows it by their access token (hmsact-on-behalf-of). Default: none, it acts for nobody."""

    @field_validator("certificate")
    @classmethod
    def _names_one(cls, said: str | None) -> str | None:
        if said is not None and not said.startswith(("spiffe://", "x509:")):
            raise ValueError('is neither "spiffe://…" nor "x509:…"')
        return said

    @field_validator("serves")
    @classmethod
    def _agents_serve_nothing(cls, said: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if said and info.data.get("kind") == "agent":
            raise ValueError("is for services: an agent does no steps")
        return said

    @field_validator("responsible")
    @classmethod
    def _agents_have_somebody(cls, said: str | None, info: ValidationInfo) -> str | None:
        if (said is None) == (info.data.get("kind") == "agent"):
            raise ValueError("has to name a person, for an agent" if said is None else "is for agents only")
        return said


class PersonSection(Section):
    """What is known of a person here: `[identity.people."ISSUER:SUBJECT"]`."""

    roles: tuple[Role, ...] = ()
    """Roles beside those that their tokens say. Default: none."""


class RoleSection(Section):
    """What a role gives: `[identity.roles."fsa.officer"]`."""

    permissions: tuple[Annotated[str, AfterValidator(_permission)], ...] = tuple(sorted(DECIDE))
    """The permissions. Default: to read, and to decide, claim and assign checkpoints, as officers do. A role that has
    no table gives nothing, whoever has it."""


class IdentitySection(Section):
    """Who may call, and what they may do. Not used with `dev`, which has identities of its own."""

    trust_domains: tuple[Annotated[str, Field(min_length=1, max_length=255)], ...] = ()
    """The SPIFFE trust domains whose certificates are known. Default: none."""
    issuers: dict[str, IssuerSection] = Field(default_factory=dict)
    """Identity providers, by a name that logs use. Default: none, so that no person can sign in."""
    roles: dict[Role, RoleSection] = Field(default_factory=dict)
    """Roles, by name. Default: hmsact.viewer may read, hmsact.operator may run operations too."""
    workloads: dict[Annotated[str, AfterValidator(_workload)], WorkloadSection] = Field(default_factory=dict)
    """Programs, by name. Default: none."""
    people: dict[Annotated[str, AfterValidator(_person)], PersonSection] = Field(default_factory=dict)
    """People, by "ISSUER:SUBJECT". Default: none; whoever signs in is known by their token."""

    @field_validator("issuers")
    @classmethod
    def _each_once(cls, said: dict[str, IssuerSection]) -> dict[str, IssuerSection]:
        if len({issuer.url for issuer in said.values()}) < len(said):
            raise ValueError("has two issuers of one url")
        # Else "7:x" of the one and "x" of the other would be the same person: "https://idp.gov" and "https://idp.gov:7".
        urls = [issuer.url for issuer in said.values()]
        alike = [f"{url} and {other}" for url in urls for other in urls if other.startswith(f"{url}:")]
        if alike:
            raise ValueError(f"has {', '.join(alike)}, whose people could not be told apart: one begins as the other")
        return said

    @field_validator("workloads")
    @classmethod
    def _certificates_are_somebodys(
        cls, said: dict[str, WorkloadSection], info: ValidationInfo
    ) -> dict[str, WorkloadSection]:
        names = [workload.certificate for workload in said.values() if workload.certificate]
        if len(set(names)) < len(names):
            raise ValueError("gives one certificate to two workloads")
        known = info.data.get("trust_domains", ())
        foreign = [name for name in names if name.startswith("spiffe://") and name.split("/")[2] not in known]
        if foreign:
            raise ValueError(f"has {', '.join(foreign)}, of a domain that trust_domains does not name")
        return said

    @field_validator("workloads", "people")
    @classmethod
    def _have_what_there_is(
        cls, said: Mapping[str, WorkloadSection | PersonSection], info: ValidationInfo
    ) -> Mapping[str, WorkloadSection | PersonSection]:
        """Whoever is misspelt would be nobody, and an agent's person could decide on what the agent began."""
        known = {*info.data.get("roles", ()), *BUILT_IN}
        faults = [
            f"{name} has the role {role}, of which there is nothing in identity.roles"
            for name, about in said.items()
            for role in about.roles
            if role not in known
        ]
        theirs = [
            who
            for name, about in said.items()
            for who in ((about.responsible, *about.clients) if isinstance(about, WorkloadSection) else (name,))
        ]
        urls = [issuer.url for issuer in info.data.get("issuers", {}).values()]
        faults += [
            f"{who} is of none of identity.issuers"
            for who in theirs
            if who is not None and not any(who.startswith(f"{url}:") for url in urls)
        ]
        if faults and "roles" in info.data and "issuers" in info.data:
            raise ValueError("; ".join(faults))
        return said

    @property
    def lets_somebody_in(self) -> bool:
        """True if anybody at all can sign in."""
        return bool(self.issuers or self.workloads)
