"""The endpoint that is checked: asks it, and reads what it answers."""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx2
from standardwebhooks import Webhook

from hmsactd.conformance.request import Request, signed
from hmsactd.conformance.unmet import Unmet, expect

ANSWER_MAX_BYTES: Final = 1024 * 1024
DONE: Final = (200, 201, 204)
DEFERRED: Final = 202
PASSING: Final = (408, 425, 429)
LASTING: Final = (501, 505)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    kind: str
    body: bytes

    @property
    def is_done(self) -> bool:
        """True for a step that is done."""
        return self.status in DONE

    @property
    def is_permanent(self) -> bool:
        """True for a failure that is not tried again."""
        is_failure = not self.is_done and self.status != DEFERRED
        return is_failure and self.status not in PASSING and (self.status < 500 or self.status in LASTING)

    @property
    def output(self) -> Any:
        """What the step returned. Raises Unmet if it is not done, or not in JSON."""
        expect(self.is_done, "the step done (200, 201 or 204)", f"the answer was {self}")
        if not self.body:
            return None
        expect(self.kind == "application/json", "an output of type application/json", f"it was {self.kind or 'none'}")
        try:
            return json.loads(self.body)
        except ValueError:
            raise Unmet("an output that is a JSON text", f"the answer was {self}") from None

    @property
    def problem(self) -> dict[str, Any]:
        """What a failure says of itself (RFC 9457); empty if nothing."""
        try:
            said = json.loads(self.body) if self.kind == "application/problem+json" else {}
        except ValueError:
            said = {}
        return said if isinstance(said, dict) else {}

    @property
    def until(self) -> Any:
        """By when what is deferred will be completed, as it is said; None if it isn't."""
        try:
            said = json.loads(self.body)
        except ValueError:
            return None
        return said.get("until") if isinstance(said, dict) else None

    def __str__(self) -> str:
        return f"{self.status} {self.body[:100].decode(errors='replace')}".strip()


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An agency's endpoint. `secret` is None when requests are not signed."""

    address: str
    svc: str
    secret: Webhook | None
    client: httpx2.AsyncClient

    async def ask(self, request: Request) -> Answer:
        """Ask as the daemon does."""
        body = request.body(self.svc)
        signature = {} if self.secret is None else signed(request.key, body, self.secret)
        return await self.send(body, request.headers() | signature)

    async def send(self, body: bytes, headers: dict[str, str]) -> Answer:
        """Send exactly this. Raises Unmet when there is no answer."""
        expected = "an answer over HTTP"
        content = b""
        try:
            async with self.client.stream("POST", self.address, content=body, headers=headers) as response:
                async for part in response.aiter_bytes():
                    content += part
                    expect(len(content) <= ANSWER_MAX_BYTES, "an answer of 1 MiB at most", "it has more")
        except httpx2.TransportError as error:
            raise Unmet(expected, f"there was none: {str(error) or type(error).__name__}") from error
        kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        return Answer(response.status_code, kind, content)


@asynccontextmanager
async def reached(
    address: str, svc: str, secret: Webhook | None, authorities: Path | None, patience_s: float
) -> AsyncIterator[Endpoint]:
    """An endpoint that can be asked. Redirections are not followed, and no proxy is used: as the daemon does it."""
    context = ssl.create_default_context(cafile=authorities)
    async with httpx2.AsyncClient(
        verify=context, timeout=patience_s, trust_env=False, follow_redirects=False
    ) as client:
        yield Endpoint(address, svc, secret, client)


def faults_of(address: str, secret: str | None, authorities: Path | None) -> list[str]:
    """Everything that is wrong with an address, a secret and a file of authorities, in sentences."""
    faults = []
    try:
        url = httpx2.URL(address)
        is_local = url.host in ("localhost", "127.0.0.1", "::1")
        if url.scheme not in ("https", "http") or not url.host:
            faults.append(f"{address} is not the URL of an endpoint: write https://HOST/PATH")
        elif url.scheme == "http" and not is_local:
            faults.append(f"{address} would be called in plain text: over a network it must be https")
    except httpx2.InvalidURL as error:
        faults.append(f"{address} is not a URL: {error}")
    try:
        if secret is not None:
            webhook(secret)
    except ValueError:
        faults.append("the secret is not one of Standard Webhooks: whsec_ and then base64")
    try:
        ssl.create_default_context(cafile=authorities)
    except OSError as error:
        faults.append(f"{authorities} holds no authorities: {error.strerror or error}")
    return faults


def webhook(secret: str) -> Webhook:
    """A secret as it is signed with. Raises ValueError if it can't be."""
    try:
        return Webhook(secret)
    except (ValueError, RuntimeError) as error:
        raise ValueError(str(error)) from error
