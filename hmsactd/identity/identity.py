"""Who is calling and what they may do, as the rest of the daemon asks it."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from hmsactd.core.principal import Principal, PrincipalKind
from hmsactd.errors import Unauthenticated
from hmsactd.identity import dev, permissions
from hmsactd.identity.authenticate import Metadata, bearer_token

SERVE = "step.serve"
SERVICE_SUBJECT = "svc/"


class Identity:
    """Answers for every principal: who it is, what it may, and who else there is."""

    def __init__(
        self, directory: Iterable[Principal] = (), known: Callable[[str | None], Principal | None] = lambda token: None
    ) -> None:
        self._people = {person.id: person for person in directory}
        self._known = known

    def principal_of(self, metadata: Metadata) -> Principal:
        """The principal behind the headers of a request; raises Unauthenticated if there is none."""
        token = bearer_token(metadata)
        principal = self._known(token)
        if principal is not None:
            return principal
        if token is None:
            raise Unauthenticated("TOKEN_MISSING", 'nobody is signed in: send "authorization: Bearer TOKEN"')
        # The token is a secret, or close to one: it is not repeated.
        raise Unauthenticated("TOKEN_UNKNOWN", "the bearer token is not known here")

    def permissions_of(self, principal: Principal) -> frozenset[str]:
        """The permissions of a principal; "*" stands for every one."""
        return permissions.permissions_of(principal)

    def may(self, principal: Principal, permission: str) -> bool:
        """True if the principal has the permission."""
        return permissions.may(principal, permission)

    def may_serve(self, principal: Principal, svc: str) -> bool:
        """True if the principal may do the steps of a service: it is that service, or has every permission."""
        if permissions.permissions_of(principal) is permissions.EVERYTHING:
            return True
        is_service = principal.kind is PrincipalKind.SERVICE and principal.subject == SERVICE_SUBJECT + svc
        return is_service and self.may(principal, SERVE)

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
    return Identity(dev.directory(), dev.principal_of_token)


def nobody() -> Identity:
    """No identity at all: every request is answered UNAUTHENTICATED."""
    return Identity()
