"""A call as an agency's endpoint gets it over HTTP: the JSON body, and the headers with its signature."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Self

from standardwebhooks import Webhook

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
        deadline = (datetime.now(UTC) + PATIENCE).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        told = {
            "namespace": "default",
            "operation": f"op_{self.key.replace('-', '')[:26]}",
            "definition": "conformance",
            "svc": svc,
            "step": self.step,
            "instance": 1,
            "attempt": self.attempt,
            "idempotency_key": self.key,
            "deadline": deadline,
            "input": self.input,
            "outputs": {},
            "skipped": [],
            "left_out": [],
            "completion_token": "",
        }
        return json.dumps(told | self.further).encode()

    def headers(self) -> dict[str, str]:
        """What every request says of itself."""
        return {
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "Content-Type": "application/json",
            "Idempotency-Key": f'"{self.key}"',
            "User-Agent": AGENT,
        }


def signed(key: str, body: bytes, secret: Webhook, at: datetime | None = None) -> dict[str, str]:
    """The headers of a signature (Standard Webhooks 1.0), made now or at another time."""
    at = at or datetime.now(UTC)
    return {
        "webhook-id": key,
        "webhook-timestamp": str(int(at.timestamp())),
        "webhook-signature": secret.sign(key, at, body.decode()),
    }
