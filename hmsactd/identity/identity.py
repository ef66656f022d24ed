"""Who is calling and what they may do, as the rest of the daemon asks it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from hmsactd.clock import real_time
from hmsactd.core.principal import Principal, PrincipalKind
from hmsactd.errors import PermissionDenied, Unauthenticated
from hmsactd.identity import dev
from hmsactd.identity.authenticate import ON_BEHALF_OF, Metadata, bearer_token, token_on_behalf
from hmsactd.identity.credential import Asked, Credential, Door
from hmsactd.identity.permissions import EVERYTHING, OPERATE, SERVE, Permissions
from hmsactd.identity.workload import Certificates, Workload

SEEN_MAX: Final = 10_000


class Identity:
    """Answers for every principal: who it is, what it may, and who else there is."""

    def __init__(
        self,
        doors: Sequence[Door] = (),
        certificates: Certificates | None = None,
        permissions: Permissions | None = None,
        *,
        workloads: Mapping[str, Workload] | None = None,
        directory: Iterable[Principal] = (),
        without_token: Principal | None = None,
        now: Callable[[], int] = real_time,
    ) -> None:
        self._doors = doors
        self._certificates = certificates
        self._permissions = permissions or Permissions()
        self._clients = {each.principal("").id: frozenset(each.clients) for each in (workloads or {}).values()}
        self._serves = {each.principal("").id: frozenset(each.serves) for each in (workloads or {}).values()}
        self._people = {person.id: person for person in directory}
        self._kept = len(self._people)
        self._without_token = without_token
        self._now = now

    # -- who -----------------------------------------------------------------------------------------------------------

    def credential_of(
        self, metadata: Metadata, certificate: bytes | None = None, asked: Asked = Asked.ANYBODY
    ) -> Credential:
        """Whom a request stands for, by its headers and the certificate of its connection, and whom they act for.

        Where there are both, a request for a workload is the certificate's, and every other the token's. Raises
        Unauthenticated, and PermissionDenied for somebody who may not act for the person whose token they show.
        """
        credential = self._own_credential(metadata, certificate, asked)
        token = token_on_behalf(metadata)
        return credential if token is None else self._on_behalf(credential, token)

    def _own_credential(self, metadata: Metadata, certificate: bytes | None, asked: Asked) -> Credential:
        token = bearer_token(metadata)
        if certificate is not None and self._certificates is not None and (token is None or asked is Asked.WORKLOAD):
            return self._certificates.credential(certificate, self._now())
        if token is None:
            if self._without_token is not None:
                return Credential(self._without_token)
            raise Unauthenticated("TOKEN_MISSING", 'nobody is signed in: send "authorization: Bearer TOKEN"')
        credential = self._shown(token)
        if credential.is_of_an_actor:
            raise Unauthenticated(
                "TOKEN_OF_AN_ACTOR",
                f"the token is used for somebody (act): show it as {ON_BEHALF_OF}, beside a credential of your own",
            )
        self._note(credential.principal)
        return credential

    def _shown(self, token: str) -> Credential:
        now = self._now()
        for door in self._doors:
            credential = door.credential(token, now)
            if credential is not None:
                return credential
        # The token is a secret, or close to one: it is not repeated.
        raise Unauthenticated("TOKEN_UNKNOWN", "the bearer token is not known here")

    def _on_behalf(self, own: Credential, token: str) -> Credential:
        """The same program, acting for the person whose token it shows; roles are never gathered from both.

        Whom programs act for is not noted among those who may be entitled: citizens would push out officers.
        """
        by = own.principal
        if by.kind is PrincipalKind.PERSON:
            raise PermissionDenied("ON_BEHALF_OF_NOT_ALLOWED", f"{by.id} is a person: people act for themselves alone")
        try:
            shown = self._shown(token)
        except Unauthenticated as error:
            # Whether to sign a person in again or to mend one's own credential, has to be told apart.
            error.reason, error.sentence = f"ON_BEHALF_OF_{error.reason}", f"{ON_BEHALF_OF}: {error.sentence}"
            raise
        if shown.principal.kind is not PrincipalKind.PERSON:
            raise PermissionDenied("ON_BEHALF_OF_A_PROGRAM", f"{by.id} can't act for {shown.principal.id}: no person")
        if shown.client not in self._clients.get(by.id, ()) and not dev.may_act_for(by, shown.principal):
            # A token that another program has got, or was sent, is of no use to this one.
            raise PermissionDenied(
                "ON_BEHALF_OF_NOT_ALLOWED",
                f"{by.id} may not act for whoever has signed in at {shown.client or 'an unnamed client'}: that is none"
                " of its clients (identity.workloads.NAME.clients)",
                metadata={"client": shown.client, "principal": by.id},
            )
        ends_at = min((at for at in (own.ends_at, shown.ends_at) if at is not None), default=None)
        return Credential(replace(by, on_behalf_of=shown.principal.id), ends_at)

    def _note(self, principal: Principal) -> None:
        """Keeps in mind who has signed in, with the roles they came with: others may ask who is entitled."""
        if principal.kind is not PrincipalKind.PERSON or self._people.get(principal.id) is principal:
            return
        if principal.id in self._people or len(self._people) < self._kept + SEEN_MAX:
            self._people[principal.id] = principal

    # -- what ----------------------------------------------------------------------------------------------------------

    def permissions_of(self, principal: Principal) -> frozenset[str]:
        """The permissions of a principal; "*" stands for every one."""
        return self._permissions.of(principal)

    def may(self, principal: Principal, permission: str) -> bool:
        """True if the principal has the permission."""
        return self._permissions.may(principal, permission)

    def may_serve(self, principal: Principal, svc: str) -> bool:
        """True if the principal may do the steps of a service: it was granted to them, or they may everything."""
        if self._permissions.of(principal) is EVERYTHING:
            return True
        if not self.may(principal, SERVE):
            return False
        return svc in self._serves.get(principal.id, ()) or dev.serves(principal, svc)

    # -- who else ------------------------------------------------------------------------------------------------------

    def person(self, id: str) -> Principal | None:  # noqa: A002 -- the word of Principal.id
        """The person of this id ("issuer:subject"), as the directory knows them."""
        return self._people.get(id)

    def people(self) -> tuple[Principal, ...]:
        """Everybody in the directory."""
        return tuple(self._people.values())

    def anyone_entitled(self, role: str, except_people: Collection[str]) -> bool:
        """True if somebody other than `except_people` holds the role."""
        return any(person.has_role(role) for person in self._people.values() if person.id not in except_people)


def development() -> Identity:
    """The identities of --dev."""
    officers = dict.fromkeys((dev.OFFICER, dev.COUNSEL), OPERATE)
    return Identity(
        [dev.Tokens()], permissions=Permissions(officers), directory=dev.PEOPLE, without_token=dev.DEVELOPER
    )


def nobody() -> Identity:
    """No identity at all: every request is answered UNAUTHENTICATED."""
    return Identity()
