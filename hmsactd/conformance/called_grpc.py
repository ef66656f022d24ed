"""A service that is checked over gRPC (`StepService`): asks it with the daemon's own caller, and reads the outcome."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import grpc
from hmsact.v1 import step_pb2

from hmsactd.clock import SystemClock
from hmsactd.conformance.called import Manner
from hmsactd.conformance.request import AGENT, Request
from hmsactd.conformance.target import Target
from hmsactd.conformance.unmet import Unmet
from hmsactd.services.grpc_call import GrpcCaller
from hmsactd.services.outcome import Deferred, Done, Failed, Outcome

ANSWER_MAX_BYTES: Final = 1024 * 1024
STATUSES: Final = frozenset(status.name for status in grpc.StatusCode)
UNKNOWN_FIELD: Final = b"\xfa\xff\x0f"
"""The tag of field 32767, which has a length: no version of a request has got so far."""

MANNER: Final = Manner(
    done="the step `done`",
    retryable="`failed` that may be retried, or a status that is tried again",
    permanent="`failed` with `retryable` false, or a status that is not tried again",
    deferred="`deferred` for a step that is completed later",
    message="`failed` with the receipt as its message",
)


@dataclass(frozen=True, slots=True)
class GrpcAnswer:
    """What came back, as the daemon understands it."""

    outcome: Outcome

    @property
    def is_done(self) -> bool:
        """True for a step that is done."""
        return isinstance(self.outcome, Done)

    @property
    def is_deferred(self) -> bool:
        """True for a step that is completed later."""
        return isinstance(self.outcome, Deferred)

    @property
    def until(self) -> None:
        """No text: what the message holds is a time."""

    @property
    def is_permanent(self) -> bool:
        """True for a failure that is not tried again."""
        return isinstance(self.outcome, Failed) and self.outcome.is_permanent

    @property
    def output(self) -> Any:
        """What the step returned. Raises Unmet if it is not done, or not in JSON."""
        outcome = self.outcome
        if not isinstance(outcome, Done):
            raise Unmet(MANNER.done, f"the answer was {self}")
        try:
            return json.loads(outcome.output or b"null")
        except ValueError:
            raise Unmet("an output that is a JSON text", f"the answer was {self}") from None

    @property
    def code(self) -> str | None:
        """The code of `failed`; a status has none but its own."""
        code = self.outcome.code if isinstance(self.outcome, Failed) else None
        return None if code in STATUSES else code

    @property
    def message(self) -> str | None:
        """The message of `failed`, or the words of a status."""
        return self.outcome.message if isinstance(self.outcome, Failed) else None

    def __str__(self) -> str:
        match self.outcome:
            case Done(output=output):
                return f"done {output[:100].decode(errors='replace')}"
            case Failed(code=code, message=message, is_permanent=is_permanent):
                return f"{'permanent' if is_permanent else 'retryable'} {code}: {message[:200]}"
            case Deferred():
                return "deferred"


@dataclass(frozen=True, slots=True)
class StepServer:
    """An agency's server."""

    target: Target
    caller: GrpcCaller
    patience_s: float
    manner: ClassVar = MANNER

    async def ask(self, request: Request) -> GrpcAnswer:
        """Ask as the daemon does. A connection that fails is a failure like others: a server may say so itself."""
        said = self.caller.request_of(request.call, request.deadline_at)
        if request.further:
            said = step_pb2.ExecuteRequest.FromString(said.SerializeToString() + _unknown(request.further))
        answer = GrpcAnswer(await self.caller.execute(said, self.patience_s))
        match answer.outcome:
            case Failed(code="DEADLINE_EXCEEDED"):
                raise Unmet("an answer over gRPC", f"there was none in {self.patience_s:g} s")
            case Failed(code="ANSWER_TOO_LARGE"):
                raise Unmet("an answer of 1 MiB at most", "it has more")
            case _:
                pass
        return answer


@asynccontextmanager
async def reached(target: Target, patience_s: float) -> AsyncIterator[StepServer]:
    """A server that can be asked."""
    caller = caller_of(target, target.credentials.channel)
    try:
        yield StepServer(target, caller, patience_s)
    finally:
        await caller.close()


def caller_of(target: Target, credentials: grpc.ChannelCredentials | None) -> GrpcCaller:
    """What asks it, with these credentials."""
    return GrpcCaller(target.called, credentials, SystemClock(), ANSWER_MAX_BYTES, AGENT)


def _unknown(further: dict[str, Any]) -> bytes:
    """A field that the server's proto doesn't have."""
    said = json.dumps(further).encode()
    assert len(said) < 128, "a length of one byte"
    return UNKNOWN_FIELD + bytes([len(said)]) + said
