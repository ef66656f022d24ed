"""An agency's StepService on generated code, as short as a correct one gets, which may be told to have one fault."""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from hmsact.v1 import step_pb2, step_pb2_grpc

Response = step_pb2.ExecuteResponse

FAULTS = (
    "wraps_the_output",
    "says_what_is_not_json",
    "says_nothing",
    "takes_little",
    "dies_of_unknown_fields",
    "calls_every_failure_permanent",
    "calls_no_failure_permanent",
    "loses_codes",
    "does_every_step",
    "ignores_the_key",
    "looks_twice_at_a_time",
    "goes_by_the_attempt",
    "defers_with_done",
    "waits_for_ever_once_hung_up_on",
    "says_it_does_not_serve",
    "lets_in_strangers",
)


class Agency(step_pb2_grpc.StepServiceServicer):
    """What it has done, by idempotency key."""

    def __init__(self, fault: str) -> None:
        self.fault = fault
        self.answers: dict[str, Response] = {}
        self.receipts: dict[str, str] = {}
        self.locks: dict[str, threading.Lock] = {}
        self.guard = threading.Lock()
        self.is_over = threading.Event()

    def Execute(self, request: step_pb2.ExecuteRequest, context: grpc.ServicerContext) -> Response:  # noqa: N802
        if self.fault == "dies_of_unknown_fields" and b"later" in request.SerializeToString():
            raise ValueError("what is this?")
        key = request.idempotency_key
        with self.guard:
            lock = self.locks.setdefault(key, threading.Lock())
        if self.fault in ("ignores_the_key", "looks_twice_at_a_time"):
            if self.fault == "looks_twice_at_a_time" and key in self.answers:
                return self.answers[key]
            self.answers[key] = self.do(request, context)
            return self.answers[key]
        with lock:
            if key not in self.answers:
                answer = self.do(request, context)
                if not answer.HasField("done"):
                    return answer
                self.answers[key] = answer
            return self.answers[key]

    def do(self, request: step_pb2.ExecuteRequest, context: grpc.ServicerContext) -> Response:
        said, attempt = json.loads(request.input) or {}, request.attempt
        match request.step:
            case "echo":
                if self.fault == "takes_little" and len(request.input) > 100_000:
                    context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too much")
                return self.done({"output": said} if self.fault == "wraps_the_output" else said)
            case "slow":
                time.sleep(said["seconds"])
                if self.fault == "waits_for_ever_once_hung_up_on" and not context.is_active():
                    self.is_over.wait()
                return self.done({"run": str(uuid.uuid4())})
            case "fail":
                if said.get("permanent") or attempt < said.get("until", 1):
                    return self.failed(said["message"], said["code"], bool(said.get("permanent")))
                return self.done({"attempt": attempt})
            case "once":
                key = f"{request.idempotency_key} {attempt if self.fault == 'goes_by_the_attempt' else ''}"
                receipt = self.receipts.setdefault(key, str(uuid.uuid4()))
                if attempt < said.get("until", 1):
                    return self.failed(receipt, "AFTERWARDS", False)
                return self.done({"receipt": receipt})
            case "later" if self.fault != "defers_with_done":
                return Response(deferred=Response.Deferred())
            case _ if self.fault in ("does_every_step", "defers_with_done"):
                return self.done(None)
            case _:
                return context.abort(grpc.StatusCode.UNIMPLEMENTED, f"{request.step} is not done here")

    def done(self, output: Any) -> Response:
        if self.fault == "says_nothing":
            return Response()
        text = str(output) if self.fault == "says_what_is_not_json" else json.dumps(output)
        return Response(done=Response.Done(output=text.encode()))

    def failed(self, message: str, code: str, is_permanent: bool) -> Response:
        match self.fault:
            case "calls_every_failure_permanent":
                is_permanent = True
            case "calls_no_failure_permanent":
                is_permanent = False
            case "loses_codes":
                code = ""
            case _:
                pass
        return Response(failed=Response.Failed(message=message, code=code, retryable=not is_permanent))


@contextmanager
def serving(
    fault: str = "", credentials: grpc.ServerCredentials | None = None, knows_health: bool = True
) -> Iterator[str]:
    """A server that answers; gives its address."""
    with ThreadPoolExecutor(8) as threads:
        server = grpc.server(threads)
        agency = Agency(fault)
        step_pb2_grpc.add_StepServiceServicer_to_server(agency, server)
        if knows_health:
            checks = health.HealthServicer()
            status = health_pb2.HealthCheckResponse
            checks.set("", status.NOT_SERVING if fault == "says_it_does_not_serve" else status.SERVING)
            health_pb2_grpc.add_HealthServicer_to_server(checks, server)
        if credentials is None:
            port = server.add_insecure_port("127.0.0.1:0")
        else:
            port = server.add_secure_port("127.0.0.1:0", credentials)
        server.start()
        try:
            yield f"grpc{'s' if credentials else ''}://127.0.0.1:{port}"
        finally:
            agency.is_over.set()
            server.stop(None).wait()
