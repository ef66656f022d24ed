"""Calls a service with JSON over HTTPS.

Speaks to the transport and not to a client: so there is nobody who would follow a redirection, keep a cookie, look for
a proxy in the environment, or try again.
"""

from __future__ import annotations

import ssl
from collections.abc import Sequence

import httpx2
from standardwebhooks import Webhook

from hmsactd.clock import Clock
from hmsactd.engine.session import Call
from hmsactd.services.answer import outcome_of
from hmsactd.services.outcome import Failed, Outcome
from hmsactd.services.request import body_of, headers_of
from hmsactd.services.retryable import HTTP_GATEWAY
from hmsactd.settings.called import Called

KEPT_S = 4.0
"""How long a connection is kept for the next call: less than the five seconds after which many servers close it."""

CONNECT_MAX_S = 10.0
"""How long a connection may take to come about, with TLS."""

ERRORS: tuple[tuple[type[httpx2.TransportError], str, str], ...] = (
    (httpx2.ConnectError, "CONNECT_FAILED", "no connection to the service"),
    (httpx2.ConnectTimeout, "CONNECT_FAILED", "no connection to the service in time"),
    (httpx2.ProxyError, "CONNECT_FAILED", "no connection through the proxy"),
    (httpx2.RemoteProtocolError, "BAD_ANSWER", "what came was not an answer in HTTP"),
)
"""From the kinds of failure to a code and the begin of a sentence."""


class TooMuch(Exception):
    """Raised when an answer has more bytes than it may."""


class HttpsCaller:
    """Calls one service at its address. `answer_max_bytes` is what an answer may have, whatever its status."""

    def __init__(
        self,
        svc: str,
        called: Called,
        tls: ssl.SSLContext | None,
        secrets: Sequence[Webhook],
        clock: Clock,
        answer_max_bytes: int,
        agent: str,
    ) -> None:
        self._svc = svc
        self._called = called
        self._secrets = tuple(secrets)
        self._clock = clock
        self._answer_max_bytes = answer_max_bytes
        self._agent = agent
        self._url = httpx2.URL(called.address)
        self._transport = httpx2.AsyncHTTPTransport(
            verify=tls if tls is not None else True,
            trust_env=False,
            http2=False,
            proxy=called.proxy,
            # One more, so that a look at the service need not wait for a call that hangs.
            limits=httpx2.Limits(max_connections=called.concurrency + 1, keepalive_expiry=KEPT_S),
        )

    async def call(self, call: Call, deadline_at: int) -> Outcome:
        """Calls it once."""
        body = body_of(call, self._called.namespace, self._svc, deadline_at)
        headers = headers_of(call, body, self._secrets, self._clock.now(), self._agent)
        try:
            status, answered, content = await self._send("POST", headers, body)
        except httpx2.TransportError as error:
            return _unreachable(error)
        except TooMuch:
            most = self._answer_max_bytes
            return Failed("ANSWER_TOO_LARGE", f"the answer has more than {most} bytes, the most allowed", True)
        return outcome_of(status, answered, content, self._clock.now())

    async def is_there(self) -> bool:
        """True if it answers OPTIONS, with whatever it likes; not if a gateway answers in its place."""
        try:
            status, _, _ = await self._send("OPTIONS", {"User-Agent": self._agent}, b"")
        except httpx2.TransportError:
            return False
        except TooMuch:
            return True
        return status not in HTTP_GATEWAY

    async def close(self) -> None:
        """Closes its connections."""
        await self._transport.aclose()

    async def _send(self, method: str, headers: dict[str, str], body: bytes) -> tuple[int, httpx2.Headers, bytes]:
        # No limits but on connecting: the deadline is on the whole, so that a byte now and then does not prolong it.
        timeout = {"connect": CONNECT_MAX_S, "read": None, "write": None, "pool": None}
        request = httpx2.Request(method, self._url, headers=headers, content=body, extensions={"timeout": timeout})
        response = await self._transport.handle_async_request(request)
        try:
            return response.status_code, response.headers, await self._read(response)
        finally:
            await response.aclose()

    async def _read(self, response: httpx2.Response) -> bytes:
        said = response.headers.get("content-length", "")
        if said.isascii() and said.isdigit() and int(said[:19]) > self._answer_max_bytes:
            raise TooMuch
        parts = bytearray()
        async for part in response.aiter_raw():
            parts += part
            if len(parts) > self._answer_max_bytes:
                raise TooMuch
        return bytes(parts)


def _unreachable(error: httpx2.TransportError) -> Failed:
    for kind, code, sentence in ERRORS:
        if isinstance(error, kind):
            return Failed(code, f"{sentence}: {error}" if str(error) else sentence, is_unreachable=True)
    return Failed("CONNECTION_LOST", f"the connection broke before the answer was there: {error}", is_unreachable=True)
