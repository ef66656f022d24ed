"""`CompleteStep`: what came of a step that was deferred, from whoever has its token and may serve it."""

from __future__ import annotations

import re

from hmsact.v1 import worker_pb2 as pb

from hmsactd.core.inputs import CompleteStep
from hmsactd.engine.tokens import Attempted
from hmsactd.errors import PermissionDenied
from hmsactd.rpc import convert
from hmsactd.rpc.caller import caller
from hmsactd.rpc.desk import Checked, Desk, check, request_key
from hmsactd.rpc.times import span_ms

CODE = re.compile(r"[A-Z][A-Z0-9_]{0,63}")


class Completions:
    """Hears what came of deferred steps."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def complete(self, request: pb.CompleteStepRequest) -> pb.CompleteStepResponse:
        """Tell the operation, once for each request id."""
        checked = check(self._desk, request)
        attempted = self._attempted(checked, request)
        told = _told(checked, request, attempted)
        checked.done()
        assert attempted is not None and told is not None
        if not self._desk.identity.may_serve(caller(), attempted.svc):
            # Whoever found a token lying about must not be able to use it.
            raise PermissionDenied(
                "MAY_NOT_SERVE", f"{caller().id} may not serve {attempted.svc}, and so not complete its steps"
            )
        namespace, operation_id = attempted.namespace, attempted.key.operation_id
        key = request_key(request, "CompleteStep", namespace)
        done = await self._desk.requests.once(
            namespace, key, lambda: self._desk.engine.tell(namespace, operation_id, told, key)
        )
        return pb.CompleteStepResponse(namespace=namespace, operation_id=operation_id, recorded=convert.recorded(done))

    def _attempted(self, checked: Checked, request: pb.CompleteStepRequest) -> Attempted | None:
        """What the token stands for."""
        checked.demand("completion_token", request.completion_token, "says no token: it came with the call")
        attempted = self._desk.engine.tokens.read(request.completion_token)
        if attempted is None and request.completion_token:
            sentence = "is not a completion token of this daemon, or not the whole of one"
            checked.fault("completion_token", sentence, "BAD_TOKEN")
        if attempted is not None and request.namespace not in ("", attempted.namespace):
            checked.fault("namespace", "is not that of the token: leave it out", "WRONG_NAMESPACE")
        return attempted


def _told(checked: Checked, request: pb.CompleteStepRequest, attempted: Attempted | None) -> CompleteStep | None:
    """What the operation is told; every fault of it is noted, and changes nothing: it can be said again, mended."""
    _, instance, attempt = attempted.key if attempted is not None else ("", 0, 0)
    match request.WhichOneof("outcome"):
        case "done":
            output = checked.json("done.output", request.done.output)
            return CompleteStep(caller(), instance, attempt, output)
        case "failed":
            failed = request.failed
            if failed.code and not CODE.fullmatch(failed.code):
                checked.fault("failed.code", "is not UPPER_SNAKE, a letter first and 64 at most", "BAD_CODE")
            retry_after_ms = span_ms(failed.retry_after) if failed.HasField("retry_after") else None
            if retry_after_ms is not None and retry_after_ms < 0:
                checked.fault("failed.retry_after", "is negative", "OUT_OF_RANGE")
            return CompleteStep(
                caller(),
                instance,
                attempt,
                None,
                failed.code or "ERROR",
                failed.permanent,
                checked.words("failed.message", failed.message),
                retry_after_ms,
            )
        case _:
            checked.fault("outcome", "says neither done nor failed", "REQUIRED")
            return None
