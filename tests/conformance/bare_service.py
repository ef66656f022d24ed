"""An agency's endpoint on the standard library, as short as a correct one gets, which may be told to have one fault."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import ssl
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SECRET = "whsec_" + base64.b64encode(b"a secret for the tests alone").decode()
TOLERANCE_S = 300

FAULTS = (
    "wraps_the_output",
    "says_html",
    "takes_little",
    "dies_of_unknown_members",
    "calls_every_failure_permanent",
    "calls_no_failure_permanent",
    "does_every_step",
    "dies_of_bad_json",
    "ignores_the_key",
    "looks_twice_at_a_time",
    "goes_by_the_attempt",
    "defers_with_200",
    "defers_until_whenever",
    "trusts_every_signature",
    "trusts_the_unsigned",
    "trusts_the_old",
    "reads_the_first_signature",
    "keeps_the_key_of_a_forgery",
    "redirects",
    "waits_for_ever_once_hung_up_on",
)


class Agency:
    """What it has done, by idempotency key."""

    def __init__(self, fault: str, is_signed: bool) -> None:
        self.fault = fault
        self.is_signed = is_signed
        self.answers: dict[str, tuple[int, Any]] = {}
        self.receipts: dict[str, str] = {}
        self.locks: dict[str, threading.Lock] = {}
        self.guard = threading.Lock()

    def answer(self, headers: Any, body: bytes) -> tuple[int, Any]:
        if self.fault == "redirects":
            return 307, None
        if self.is_signed and not self.is_genuine(headers, body):
            if self.fault == "keeps_the_key_of_a_forgery":
                self.answers[headers["webhook-id"] or ""] = (401, None)
            return 401, None
        try:
            call = json.loads(body)
        except ValueError:
            return (500 if self.fault == "dies_of_bad_json" else 400), None
        if self.fault == "dies_of_unknown_members" and "later" in call:
            return 500, None
        key = call["idempotency_key"]
        with self.guard:
            lock = self.locks.setdefault(key, threading.Lock())
        if self.fault in ("ignores_the_key", "looks_twice_at_a_time"):
            if self.fault == "looks_twice_at_a_time" and key in self.answers:
                return self.answers[key]
            answer = self.answers[key] = self.do(call)
            return answer
        with lock:
            if key in self.answers:
                return self.answers[key]
            status, said = self.do(call)
            if status == 200:
                self.answers[key] = status, said
            return status, said

    def is_genuine(self, headers: Any, body: bytes) -> bool:
        signatures = (headers["webhook-signature"] or "").split()
        if self.fault == "trusts_every_signature" or (self.fault == "trusts_the_unsigned" and not signatures):
            return bool(signatures) or self.fault == "trusts_the_unsigned"
        at = headers["webhook-timestamp"] or "0"
        if abs(time.time() - int(at)) > TOLERANCE_S and self.fault != "trusts_the_old":
            return False
        signed = f"{headers['webhook-id']}.{at}.".encode() + body
        code = hmac.digest(base64.b64decode(SECRET.removeprefix("whsec_")), signed, hashlib.sha256)
        if self.fault == "reads_the_first_signature":
            signatures = signatures[:1]
        return f"v1,{base64.b64encode(code).decode()}" in signatures

    def do(self, call: dict[str, Any]) -> tuple[int, Any]:
        said, attempt = call["input"] or {}, call["attempt"]
        match call["step"]:
            case "echo":
                if self.fault == "takes_little" and len(json.dumps(said)) > 100_000:
                    return 413, None
                return 200, {"output": said} if self.fault == "wraps_the_output" else said
            case "slow":
                time.sleep(said["seconds"])
                if self.fault == "waits_for_ever_once_hung_up_on" and said["seconds"] and attempt == 1:
                    # With the lock of its key: whoever comes next waits, too.
                    threading.Event().wait()
                return 200, {"run": str(uuid.uuid4())}
            case "fail":
                if said.get("permanent") or attempt < said.get("until", 1):
                    return self.failed(said["message"], said["code"], bool(said.get("permanent")))
                return 200, {"attempt": attempt}
            case "once":
                key = f"{call['idempotency_key']} {attempt if self.fault == 'goes_by_the_attempt' else ''}"
                receipt = self.receipts.setdefault(key, str(uuid.uuid4()))
                if attempt < said.get("until", 1):
                    return self.failed(receipt, "AFTERWARDS", False)
                return 200, {"receipt": receipt}
            case "later":
                until = "tomorrow" if self.fault == "defers_until_whenever" else "2026-11-24T06:00:00Z"
                return (200 if self.fault == "defers_with_200" else 202), {"until": until}
            case _:
                return (200 if self.fault == "does_every_step" else 404), None

    def failed(self, message: str, code: str, is_permanent: bool) -> tuple[int, Any]:
        match self.fault:
            case "calls_every_failure_permanent":
                is_permanent = True
            case "calls_no_failure_permanent":
                is_permanent = False
            case _:
                pass
        return (422 if is_permanent else 502), {"title": "failed", "detail": message, "code": code}


@contextmanager
def serving(fault: str = "", is_signed: bool = True, tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """An endpoint that answers; gives its address."""
    agency = Agency(fault, is_signed)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            status, said = agency.answer(self.headers, self.rfile.read(int(self.headers["content-length"])))
            body = b"" if said is None and status != 200 else json.dumps(said).encode()
            kind = "application/json" if status < 300 else "application/problem+json"
            self.send_response(status)
            self.send_header("content-type", "text/html" if agency.fault == "says_html" else kind)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http{'s' if tls else ''}://127.0.0.1:{server.server_port}/steps"
        finally:
            server.shutdown()
            thread.join()
