"""From the settings to who may call."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio

from hmsactd import logs
from hmsactd.clock import Clock
from hmsactd.core.principal import Principal, PrincipalKind
from hmsactd.errors import StartRefused
from hmsactd.identity.access_token import Issuer
from hmsactd.identity.api_tokens import TokenFile, TokensRefused
from hmsactd.identity.fetch import fetching
from hmsactd.identity.identity import Identity
from hmsactd.identity.key_set import BadKeySet
from hmsactd.identity.key_source import FetchedKeys, FileKeys
from hmsactd.identity.people import METHOD, AccessTokens
from hmsactd.identity.permissions import Permissions
from hmsactd.identity.workload import ApiTokens, Certificates, Workload
from hmsactd.settings.identity import IdentitySection, IssuerSection

TOKENS_LOOKED_AT_EVERY_S = 1.0
"""How long a token that was revoked may go on."""

log = logs.logger(__name__)

Watch = Callable[[], Coroutine[Any, Any, None]]


@dataclass(frozen=True, slots=True)
class SignIn:
    """Who may call, and what has to run meanwhile so that it stays true."""

    identity: Identity
    watches: list[Watch] = field(default_factory=list)


def sign_in(said: IdentitySection, data: Path | None, clock: Clock) -> SignIn:
    """Who may call by the settings; raises StartRefused for files that can't be used."""
    watches: list[Watch] = []
    workloads = {name: _workload(name, said) for name in said.workloads}
    issuers = {each.url: _issuer(name, each, clock, watches) for name, each in said.issuers.items()}
    roles = {person: about.roles for person, about in said.people.items()}
    doors = [AccessTokens(issuers, roles)] if issuers else []
    identity = Identity(
        [*doors, *_tokens(workloads, data, watches)],
        Certificates(workloads.values(), said.trust_domains),
        Permissions({role: frozenset(about.permissions) for role, about in said.roles.items()}),
        workloads=workloads,
        directory=[_person(person, issuers, held) for person, held in roles.items()],
        now=clock.now,
    )
    return SignIn(identity, watches)


def _workload(name: str, said: IdentitySection) -> Workload:
    about = said.workloads[name]
    kind = PrincipalKind(about.kind)
    return Workload(name, kind, about.certificate, about.serves, about.roles, about.responsible, about.clients)


def _person(person: str, issuers: Iterable[str], roles: tuple[str, ...]) -> Principal:
    # A subject may have colons, as Keycloak's have whose people come from a directory: "f:8d1…:jdavis".
    issuer = next(url for url in issuers if person.startswith(f"{url}:"))
    return Principal(PrincipalKind.PERSON, issuer, person.removeprefix(f"{issuer}:"), roles, METHOD)


def _issuer(name: str, said: IssuerSection, clock: Clock, watches: list[Watch]) -> Issuer:
    keys: FileKeys | FetchedKeys
    if said.keys_file is not None:
        keys = FileKeys(said.keys_file)
        try:
            keys.load()
        except BadKeySet as error:
            raise StartRefused(f"the keys of the issuer {name} can't be used: {said.keys_file} {error}") from error
    else:
        try:
            fetch = fetching(said.ca_file)
        except OSError as error:
            raise StartRefused(
                f"the authorities of the issuer {name} can't be read: {said.ca_file}: {error}"
            ) from error
        keys = FetchedKeys(said.url, said.keys_url, fetch, clock.passed)
    watches.append(keys.run)
    path = tuple(said.roles_claim.split("."))
    return Issuer(said.url, said.audience, keys, said.algorithms, said.names_type, path, said.leeway.ms // 1000)


def _tokens(workloads: dict[str, Workload], data: Path | None, watches: list[Watch]) -> list[ApiTokens]:
    if data is None or not workloads:
        return []
    file = TokenFile(data)
    try:
        file.look()
    except TokensRefused as error:
        raise StartRefused(str(error)) from error

    async def watch() -> None:
        told = ""
        while True:
            await anyio.sleep(TOKENS_LOOKED_AT_EVERY_S)
            try:
                if await anyio.to_thread.run_sync(file.look):
                    log.info("the API tokens were read again")
                told = ""
            except TokensRefused as error:
                if str(error) != told:
                    log.error("the API tokens can't be read: those read before stay", error=str(error))
                told = str(error)

    watches.append(watch)
    return [ApiTokens(workloads, file)]
