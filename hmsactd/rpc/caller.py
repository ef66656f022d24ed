"""Who is calling, for the servicers. The interceptor puts it here; nobody else does."""

from __future__ import annotations

from contextvars import ContextVar

from hmsactd.core.principal import Principal

_caller: ContextVar[Principal] = ContextVar("hmsactd_caller")


def caller() -> Principal:
    """The authenticated principal of the request at hand."""
    return _caller.get()


def called_by(principal: Principal) -> None:
    """Says who is calling, for the rest of this task."""
    _caller.set(principal)
