"""Who may read a page that is not for everybody: the same people, tokens and permissions as over gRPC."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request

from hmsactd.errors import Unauthenticated, Unavailable
from hmsactd.identity.authenticate import ON_BEHALF_OF
from hmsactd.identity.credential import NotKnownYet
from hmsactd.identity.identity import Identity

TOKEN_PARAMETERS: Final = ("access_token", "token")
"""Where some put a token into an address, which logs and histories keep."""


def admitting(identity: Identity, permission: str) -> Callable[[Request], Awaitable[None]]:
    """What lets those through who have a permission."""

    async def admit(request: Request) -> None:
        if any(name in request.query_params for name in TOKEN_PARAMETERS):
            raise HTTPException(HTTPStatus.BAD_REQUEST, "a token in an address is everybody's: send it as a header")
        # Pages are read by whoever asks, for nobody else.
        headers = [(name, value) for name, value in request.headers.items() if name != ON_BEHALF_OF]
        try:
            try:
                principal = identity.credential_of(headers).principal
            except NotKnownYet as unknown:
                await unknown.ask()
                principal = identity.credential_of(headers).principal
        except Unauthenticated as error:
            raise HTTPException(HTTPStatus.UNAUTHORIZED, error.sentence, {"WWW-Authenticate": "Bearer"}) from error
        except Unavailable as error:
            raise HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, error.sentence) from error
        if not identity.may(principal, permission):
            raise HTTPException(HTTPStatus.FORBIDDEN, f"{principal.id} lacks the permission {permission}")

    return admit
