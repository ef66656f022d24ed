"""A call as an agency gets it, over HTTP with its body and headers: what the daemon sends, signed at any time."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Self

from standardwebhooks import Webhook

from hmsactd.engine.session import AttemptKey, Call
from hmsactd.services.request import body_of, headers_of

PATIENCE: Final = timedelta(minutes=1)
AGENT: Final = "hmsactd-conformance"


@dataclass(frozen=True, slots=True)
class Request:
    """One attempt of one step. Every request has a key of its own unless it is made from another."""

    step: str
    input: Any = None
    attempt: int = 1
    key: str = field(default_factory=lambda: str(uuid.uuid4()))
    further: dict[str, Any] = field(default_factory=dict)

    def again(self, attempt: int = 1) -> Self:
        """The same step of the same operation, in another attempt or the same one."""
        return replace(self, attempt=attempt)

    def body(self, svc: str) -> bytes:
        """The body, as bytes that are signed."""
        body = body_of(self.call, "default", svc, self.deadline_at)
        return json.dumps(json.loads(body) | self.further).encode()

    @property
    def deadline_at(self) -> int:
        """Until when an answer made now would count, in microseconds."""
        return round((datetime.now(UTC) + PATIENCE).timestamp() * 1_000_000)

    def headers(self) -> dict[str, str]:
        """What every request says of itself."""
        return headers_of(self.call, b"", (), 0, AGENT)

    @property
    def call(self) -> Call:
        """The attempt as the daemon would have it."""
        return Call(
            key=AttemptKey(f"op_{self.key.replace('-', '')[:26]}", 1, self.attempt),
            step=self.step,
            definition="conformance",
            idempotency_key=self.key,
            deadline_at=None,
            heartbeat_ms=None,
            input=json.dumps(self.input).encode(),
            outputs={},
            skipped=(),
            left_out=(),
            # The daemon that it would be good for isn't there: what is checked is the answer.
            completion_token="done_of_no_daemon",  # noqa: S106 -- good for nothing
        )


def signed(key: str, body: bytes, secret: Webhook, at: datetime | None = None) -> dict[str, str]:
    """The headers of a signature (Standard Webhooks 1.0), made now or at another time."""
    at = at or datetime.now(UTC)
    return {
        "webhook-id": key,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": secret.sign(key, at, body.decode()),
    }
