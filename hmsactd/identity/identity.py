"""Who is calling and what they may do, as the rest of the daemon asks it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from hmsactd.clock import real_time
from hmsactd.core.principal import Principal, PrincipalKind
from hmsactd.errors import Unauthenticated
from hmsactd.identity import dev
from hmsactd.identity.authenticate import Metadata, bearer_token
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
        self._serves = {each.principal("").id: frozenset(each.serves) for each in (workloads or {}).values()}
        self._people = {person.id: person for person in directory}
        self._kept = len(self._people)
        self._without_token = without_token
        self._now = now

    # -- who -----------------------------------------------------------------------------------------------------------

    def credential_of(
        self, metadata: Metadata, certificate: bytes | None = None, asked: Asked = Asked.ANYBODY
    ) -> Credential:
        """Whom a request stands for, by its headers and the certificate of its connection; raises Unauthenticated.

        Where there are both, a request for a workload is the certificate's, and every other the token's.
        """
        token = bearer_token(metadata)
        if certificate is not None and self._certificates is not None and (token is None or asked is Asked.WORKLOAD):
            return self._certificates.credential(certificate, self._now())
        if token is None:
            if self._without_token is not None:
                return Credential(self._without_token)
            raise Unauthenticated("TOKEN_MISSING", 'nobody is signed in: send "authorization: Bearer TOKEN"')
        now = self._now()
        for door in self._doors:
            credential = door.credential(token, now)
            if credential is not None:
                self._note(credential.principal)
                return credential
        # The token is a secret, or close to one: it is not repeated.
        raise Unauthenticated("TOKEN_UNKNOWN", "the bearer token is not known here")

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

    def anyone_entitled(self, role: str, except_person: str | None) -> bool:
        """True if somebody other than `except_person` holds the role."""
        return any(person.has_role(role) for person in self._people.values() if person.id != except_person)


def development() -> Identity:
    """The identities of --dev."""
    officers = dict.fromkeys((dev.OFFICER, dev.COUNSEL), OPERATE)
    return Identity(
        [dev.Tokens()], permissions=Permissions(officers), directory=dev.PEOPLE, without_token=dev.DEVELOPER
    )


def nobody() -> Identity:
    """No identity at all: every request is answered UNAUTHENTICATED."""
    return Identity()
