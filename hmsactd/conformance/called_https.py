"""A service that is checked over HTTPS: asks it, and reads what it answers."""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import httpx2
from standardwebhooks import Webhook

from hmsactd.conformance.called import Manner
from hmsactd.conformance.request import Request, signed
from hmsactd.conformance.target import Target
from hmsactd.conformance.unmet import Unmet, expect
from hmsactd.services.answer import DEFERRED, DONE
from hmsactd.services.retryable import is_permanent_http

ANSWER_MAX_BYTES: Final = 1024 * 1024
MANNER: Final = Manner(
    done="the step done (200, 201 or 204)",
    retryable="a status that is tried again (401, 403, 407, 408, 425, 429, or 5xx but 501 and 505)",
    permanent="a status that is not tried again (4xx but 401, 403, 407, 408, 425 and 429)",
    deferred="202 for a step that is completed later",
    message="a failure as application/problem+json with the receipt in `detail`",
)


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """What came back."""

    status: int
    kind: str
    body: bytes

    @property
    def is_done(self) -> bool:
        """True for a step that is done."""
        return self.status in DONE

    @property
    def is_deferred(self) -> bool:
        """True for a step that is completed later."""
        return self.status == DEFERRED

    @property
    def until(self) -> Any:
        """By when what is deferred will be completed, as it is said; None if it isn't."""
        try:
            said = json.loads(self.body)
        except ValueError:
            return None
        return said.get("until") if isinstance(said, dict) else None

    @property
    def is_permanent(self) -> bool:
        """True for a failure that is not tried again."""
        return not self.is_done and not self.is_deferred and is_permanent_http(self.status)

    @property
    def output(self) -> Any:
        """What the step returned. Raises Unmet if it is not done, or not in JSON."""
        expect(self.is_done, MANNER.done, f"the answer was {self}")
        if not self.body:
            return None
        expect(self.kind == "application/json", "an output of type application/json", f"it was {self.kind or 'none'}")
        try:
            return json.loads(self.body)
        except ValueError:
            raise Unmet("an output that is a JSON text", f"the answer was {self}") from None

    @property
    def code(self) -> str | None:
        """The member `code` of a problem (RFC 9457); None without a problem."""
        return str(self._problem.get("code")) if self._problem else None

    @property
    def message(self) -> str | None:
        """The member `detail` of a problem."""
        return self._problem.get("detail")

    @property
    def _problem(self) -> dict[str, Any]:
        try:
            said = json.loads(self.body) if self.kind == "application/problem+json" else {}
        except ValueError:
            said = {}
        return said if isinstance(said, dict) else {}

    def __str__(self) -> str:
        return f"{self.status} {self.body[:100].decode(errors='replace')}".strip()


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An agency's endpoint. `secret` is None when requests are not signed."""

    address: str
    svc: str
    secret: Webhook | None
    client: httpx2.AsyncClient
    manner: ClassVar = MANNER

    async def ask(self, request: Request) -> HttpAnswer:
        """Ask as the daemon does."""
        body = request.body(self.svc)
        signature = {} if self.secret is None else signed(request.key, body, self.secret)
        return await self.send(body, request.headers() | signature)

    async def send(self, body: bytes, headers: dict[str, str]) -> HttpAnswer:
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
        return HttpAnswer(response.status_code, kind, content)


@asynccontextmanager
async def reached(target: Target, patience_s: float) -> AsyncIterator[Endpoint]:
    """An endpoint that can be asked. Redirections are not followed, and no proxy is used: as the daemon does it."""
    context = target.credentials.tls or ssl.create_default_context()
    async with httpx2.AsyncClient(
        verify=context, timeout=patience_s, trust_env=False, follow_redirects=False
    ) as client:
        yield Endpoint(target.called.address, target.svc, target.secret, client)
