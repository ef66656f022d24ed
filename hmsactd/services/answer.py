"""The answer of a service over HTTP: from status, headers and body to an outcome."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from hmsactd.services.outcome import Deferred, Done, Failed, Outcome
from hmsactd.services.retryable import HTTP_BUSY, HTTP_GATEWAY, is_permanent_http, time_of, wait_of

CODE = re.compile(r"[A-Z][A-Z0-9_]{0,63}")
DONE = frozenset((200, 201, 204))
DEFERRED = 202
JSON_TYPE = re.compile(r"application/([a-z0-9.+-]+\+)?json", re.IGNORECASE)
PROBLEM = "application/problem+json"


def outcome_of(status: int, headers: Mapping[str, str], body: bytes, now: int) -> Outcome:
    """The outcome of an answer that came whole. `headers` are looked up in any case."""
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    if headers.get("content-encoding", "identity").strip().lower() != "identity":
        return Failed("BAD_ANSWER", "the service answered compressed, which it was asked not to")
    if status in DONE:
        return _done(kind, body)
    if status == DEFERRED:
        said = _object(body)
        return Deferred(time_of(said.get("until")))
    return _failed(status, headers, kind, body, now)


def _done(kind: str, body: bytes) -> Outcome:
    if not body:
        return Done(b"null")
    if kind and not JSON_TYPE.fullmatch(kind):
        # The page of a proxy, most likely: it says nothing of what the service has done.
        return Failed("BAD_ANSWER", f"the service answered with {kind[:100]}, which is not JSON")
    try:
        json.loads(body)
    except (ValueError, RecursionError):
        # It may have been cut short, where nothing says how long it should be.
        return Failed("BAD_ANSWER", "the service answered with what is not JSON")
    return Done(body)


def _failed(status: int, headers: Mapping[str, str], kind: str, body: bytes, now: int) -> Failed:
    problem = _object(body) if kind == PROBLEM else {}
    code = problem.get("code")
    wait_ms = wait_of(headers.get("retry-after"), now)
    return Failed(
        code if isinstance(code, str) and CODE.fullmatch(code) else f"HTTP_{status}",
        _words(status, problem),
        is_permanent=is_permanent_http(status),
        # What a gateway says comes from it and not from the service.
        is_unreachable=status in HTTP_GATEWAY,
        retry_after_ms=wait_ms,
        asks_for_peace_ms=wait_ms if status in HTTP_BUSY else None,
    )


def _words(status: int, problem: Mapping[str, Any]) -> str:
    """What went wrong: the service's own words (RFC 9457), or the name of the status."""
    told = [said for name in ("title", "detail") if isinstance(said := problem.get(name), str) and said]
    return ": ".join(told) if told else f"the service answered {status} {_phrase(status)}".rstrip()


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def _object(body: bytes) -> dict[str, Any]:
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}
