"""A call as an HTTP request: a JSON body, and the headers that say who sends it and what must not happen twice."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime

from standardwebhooks import Webhook

from hmsactd.engine.session import Call


def body_of(call: Call, namespace: str, svc: str, deadline_at: int) -> bytes:
    """The body. Input and outputs are JSON texts already, and go in as they are."""
    facts = {
        "namespace": namespace,
        "operation": call.key.operation_id,
        "definition": call.definition,
        "svc": svc,
        "step": call.step,
        "instance": call.key.instance,
        "attempt": call.key.attempt,
        "idempotency_key": call.idempotency_key,
        "deadline": _time(deadline_at),
        "skipped": call.skipped,
        "left_out": call.left_out,
        "completion_token": call.completion_token,
    }
    outputs = b",".join(json.dumps(name).encode() + b":" + output for name, output in call.outputs.items())
    head = json.dumps(facts, separators=(",", ":")).encode()
    return b"".join((head[:-1], b',"input":', call.input, b',"outputs":{', outputs, b"}}"))


def headers_of(call: Call, body: bytes, secrets: Sequence[Webhook], now: int, agent: str) -> dict[str, str]:
    """The headers, signed with every secret there is (Standard Webhooks 1.0)."""
    headers = {
        "Accept": "application/json",
        # What is compressed can't be bounded before it is unpacked.
        "Accept-Encoding": "identity",
        "Content-Type": "application/json",
        # A string as structured fields have it (RFC 9651), which the draft of the header asks for.
        "Idempotency-Key": f'"{call.idempotency_key}"',
        "User-Agent": agent,
    }
    if secrets:
        at = datetime.fromtimestamp(now // 1_000_000, UTC)
        signatures = [secret.sign(call.idempotency_key, at, body.decode()) for secret in secrets]
        headers["webhook-id"] = call.idempotency_key
        headers["webhook-timestamp"] = str(now // 1_000_000)
        headers["webhook-signature"] = " ".join(signatures)
    return headers


def _time(at: int) -> str:
    return datetime.fromtimestamp(at / 1e6, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
