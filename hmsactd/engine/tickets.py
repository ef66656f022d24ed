"""What a worker shows to take its session up again, after a cut or a restart of the daemon.

A session's id stands on the timeline, for every reader to see. The ticket is the id with a code that only the daemon
can make, for this principal, namespace and service; nothing of it is kept.
"""

from __future__ import annotations

import hashlib
import hmac

from hmsactd.core.principal import Principal

CODE_BYTES = 16


class Tickets:
    """Makes and checks tickets with a key of the daemon's own."""

    def __init__(self, key: bytes) -> None:
        # Not the key itself: it may serve other ends, too.
        self._key = hmac.digest(key, b"hmsactd worker session", hashlib.sha256)

    def ticket_of(self, session_id: str, principal: Principal, namespace: str, svc: str) -> str:
        """The ticket of a session."""
        return f"{session_id}.{self._code(session_id, principal, namespace, svc)}"

    def session_of(self, ticket: str, principal: Principal, namespace: str, svc: str) -> str | None:
        """The id of the session that a ticket is for; None if it was not made for this caller."""
        session_id, _, code = ticket.partition(".")
        is_ours = hmac.compare_digest(code.encode(), self._code(session_id, principal, namespace, svc).encode())
        return session_id if is_ours else None

    def _code(self, session_id: str, principal: Principal, namespace: str, svc: str) -> str:
        bound = f"{session_id}\n{principal.id}\n{namespace}\n{svc}".encode()
        return hmac.digest(self._key, bound, hashlib.sha256)[:CODE_BYTES].hex()
