"""An identity provider, asked by a program at a terminal: the device authorization grant (RFC 8628), and renewing.

It is asked over TLS, or on this machine; redirections are not followed, and answers have a bound.
"""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPException
from typing import Any, Final
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode, urlsplit
from urllib.request import HTTPRedirectHandler, HTTPSHandler, OpenerDirector, Request, build_opener

from hmsact.errors import HmsactError, InvalidArgument, Unauthenticated, Unavailable

PATIENCE_S: Final = 20.0
ANSWER_BYTES_MAX: Final = 256 * 1024
INTERVAL_S: Final = 5
"""How often is asked whether somebody has signed in, if the provider says nothing of it; also by how much more seldom
when it finds that too often (RFC 8628, 3.5)."""

DEVICE_GRANT: Final = "urn:ietf:params:oauth:grant-type:device_code"
LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class Asked:
    """A sign-in that waits for somebody.

    `code` is to be entered at `uri`, or compared at `whole_uri`, which some providers give beside it.
    """

    device_code: str
    code: str
    uri: str
    whole_uri: str | None
    lasts_s: float
    interval_s: float


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a sign-in gives. `expires_at` is in seconds since the epoch."""

    access: str
    expires_at: float
    refresh: str | None


class Provider:
    """An issuer, as a client of it. `ca_file` has the authorities that vouch for it; None: the system's."""

    def __init__(self, issuer: str, client: str, ca_file: str | None = None) -> None:
        self.issuer = issuer
        self.client = client
        self._opener = _opener(ca_file)
        described = self._get(f"{_safe(issuer).rstrip('/')}/.well-known/openid-configuration")
        if described.get("issuer") != issuer:
            raise InvalidArgument(f"{issuer} describes another issuer, {described.get('issuer')}", reason="BAD_ISSUER")
        self._described = described

    def ask(self, scope: str, resource: str | None) -> Asked:
        """Begins a sign-in. Raises Unauthenticated if the provider does not let this client do so."""
        told = self._post("device_authorization_endpoint", scope=scope, resource=resource)
        whole = told.get("verification_uri_complete")
        return Asked(
            _text(told, "device_code"),
            _text(told, "user_code"),
            _text(told, "verification_uri"),
            whole if isinstance(whole, str) else None,
            _seconds(told, "expires_in", 600),
            _seconds(told, "interval", INTERVAL_S),
        )

    def wait(
        self,
        asked: Asked,
        resource: str | None,
        *,
        sleep: Callable[[float], None] = time.sleep,
        now: Callable[[], float] = time.monotonic,
    ) -> Tokens:
        """Returns when somebody has signed in; raises Unauthenticated if they decline, or let the time pass."""
        interval_s, until = asked.interval_s, now() + asked.lasts_s
        while now() < until:
            sleep(interval_s)
            try:
                return self._tokens(grant_type=DEVICE_GRANT, device_code=asked.device_code, resource=resource)
            except Unauthenticated as refused:
                if refused.reason == "slow_down":
                    interval_s += INTERVAL_S
                elif refused.reason != "authorization_pending":
                    raise
            except Unavailable:
                # A provider that does not answer may do so the next time; it is asked less often meanwhile.
                interval_s += INTERVAL_S
        raise Unauthenticated("nobody has signed in in time", reason="expired_token")

    def renew(self, refresh: str, resource: str | None) -> Tokens:
        """Tokens for one that renews. Raises Unauthenticated if it is no good any more."""
        return self._tokens(grant_type="refresh_token", refresh_token=refresh, resource=resource)

    def revoke(self, token: str) -> None:
        """Ends a token that renews, where the provider lets one do so (RFC 7009)."""
        if "revocation_endpoint" in self._described:
            self._post("revocation_endpoint", token=token)

    def _tokens(self, **said: str | None) -> Tokens:
        told = self._post("token_endpoint", **said)
        if str(told.get("token_type", "")).lower() != "bearer":
            raise Unauthenticated(f"{self.issuer} gives a token that is no bearer token", reason="BAD_TOKEN_TYPE")
        refresh = told.get("refresh_token")
        return Tokens(
            _text(told, "access_token"),
            time.time() + _seconds(told, "expires_in", 300),
            refresh if isinstance(refresh, str) else None,
        )

    def _get(self, address: str) -> dict[str, Any]:
        return self._asked(Request(address, headers={"Accept": "application/json"}))  # noqa: S310  # looked at by _safe

    def _post(self, endpoint: str, **said: str | None) -> dict[str, Any]:
        address = self._described.get(endpoint)
        if not isinstance(address, str):
            raise Unauthenticated(f"{self.issuer} has no {endpoint.replace('_', ' ')}", reason="UNSUPPORTED")
        fields = {"client_id": self.client, **{name: value for name, value in said.items() if value is not None}}
        headers = {"Accept": "application/json", "Content-Type": "application/x-www-form-urlencoded"}
        return self._asked(Request(_safe(address), urlencode(fields).encode(), headers))  # noqa: S310  # by _safe, too

    def _asked(self, request: Request) -> dict[str, Any]:
        try:
            with self._opener.open(request, timeout=PATIENCE_S) as answer:
                return _document(answer.read(ANSWER_BYTES_MAX + 1), request.full_url)
        except HTTPError as error:
            raise self._refused(error) from None
        except (URLError, HTTPException, OSError) as error:
            why = error.reason if isinstance(error, URLError) else error
            raise Unavailable(f"{request.full_url} does not answer: {why}", reason="ISSUER_UNAVAILABLE") from error

    def _refused(self, error: HTTPError) -> HmsactError:
        """What the provider says is wrong (RFC 6749, 5.2), as far as it says it."""
        with error:
            if error.code >= HTTPStatus.INTERNAL_SERVER_ERROR or error.code == HTTPStatus.TOO_MANY_REQUESTS:
                return Unavailable(f"{error.url} answers {error.code}", reason="ISSUER_UNAVAILABLE")
            try:
                told = _document(error.read(ANSWER_BYTES_MAX + 1), error.url or self.issuer)
            except Unavailable:
                told = {}
        code = told.get("error")
        if not isinstance(code, str):
            return Unauthenticated(f"{error.url} answers {error.code}", reason="UNEXPECTED")
        said = told.get("error_description")
        return Unauthenticated(f"{self.issuer} says {said if isinstance(said, str) else code}", reason=code)


class _NoRedirect(HTTPRedirectHandler):
    """What is sent holds secrets: nobody is followed elsewhere with it."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


def _opener(ca_file: str | None) -> OpenerDirector:
    try:
        trusted = ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        raise InvalidArgument(f"{ca_file} cannot be used: {error}", reason="BAD_CA") from error
    return build_opener(HTTPSHandler(context=trusted), _NoRedirect())


def _safe(address: str) -> str:
    parts = urlsplit(address)
    if parts.hostname and (parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK)):
        return address
    raise InvalidArgument(f"{address} is no https address", reason="BAD_ISSUER")


def _document(body: bytes, address: str) -> dict[str, Any]:
    try:
        # An answer to a revocation has nothing in it.
        told = json.loads(body) if body else {}
    except (ValueError, RecursionError):
        told = None
    if not isinstance(told, dict) or len(body) > ANSWER_BYTES_MAX:
        raise Unavailable(f"{address} answers what is no JSON object", reason="ISSUER_UNAVAILABLE")
    return told


def _text(told: Mapping[str, Any], name: str) -> str:
    value = told.get(name)
    if not isinstance(value, str) or not value:
        raise Unavailable(f"the identity provider's answer has no {name}", reason="ISSUER_UNAVAILABLE")
    return value


def _seconds(told: Mapping[str, Any], name: str, otherwise: float) -> float:
    value = told.get(name, otherwise)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) and value > 0 else otherwise
