"""What a step's function is given, and what it may raise."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

from hmsact import json_text
from hmsact.duration import Duration, milliseconds
from hmsact.errors import InvalidArgument, Unimplemented, Violation
from hmsact.plain import time_or_none
from hmsact.v1 import worker_pb2

WITHIN_MAX_MS = 3650 * 86_400_000
"""Ten years, leap days not counted."""

AttemptKey = tuple[str, str, int, int]
"""Namespace, operation, instance of the step, attempt: what the daemon knows a call by."""


class StepError(Exception):
    """Raise this in a step to say how it has failed.

    `message` is for people (up to 4 KiB). With retryable=False another attempt would be of no use, and none is made.
    `code` is UPPER_SNAKE, for machines, such as "HTTP_502". `retry_after` is how long the service asks to be left
    alone: a text such as "30s", or a timedelta.
    """

    def __init__(
        self,
        message: str,
        *,
        retryable: bool = True,
        code: str | None = None,
        retry_after: Duration | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.is_retryable = retryable
        self.code = code
        self.retry_after = None if retry_after is None else timedelta(milliseconds=milliseconds(retry_after))


class Call:
    """One attempt of one step, as the function that does it gets it.

    An attempt may be repeated, after a failure or when a worker was lost: hand `idempotency_key`, which is the same
    for every attempt of the step, to whatever must not happen twice.
    """

    def __init__(self, message: worker_pb2.Call, beat: Callable[[AttemptKey, bytes], None]) -> None:
        self._message = message
        self._beat = beat
        self._deferred: worker_pb2.Deferred | None = None
        self.cancelled = threading.Event()
        """Set when nobody waits for the attempt any more: look at it in long loops, or `wait` on it instead of
        sleeping. A step that is a coroutine is cancelled instead."""
        self.cancelled_because = ""
        """Why: "cancelled" (the operation has ended), "timeout", or "lost" (somebody else has the step now)."""

    @property
    def operation_id(self) -> str:
        """The operation."""
        return self._message.attempt.operation_id

    @property
    def namespace(self) -> str:
        """The namespace of the operation."""
        return self._message.attempt.namespace

    @property
    def definition(self) -> str:
        """The name of the operation's definition."""
        return self._message.definition

    @property
    def step(self) -> str:
        """The name of the step."""
        return self._message.step

    @property
    def attempt(self) -> int:
        """Which attempt it is, from 1."""
        return self._message.attempt.attempt

    @property
    def idempotency_key(self) -> str:
        """The same for every attempt of this step of this operation, and for nothing else."""
        return self._message.idempotency_key

    @property
    def deadline(self) -> datetime | None:
        """When the attempt times out, in UTC; None without a timeout."""
        return time_or_none(self._message, "deadline")

    @property
    def traceparent(self) -> str:
        """The W3C trace context of the operation; empty without one."""
        return self._message.traceparent

    @cached_property
    def input(self) -> Any:
        """The input of the operation: a JSON value."""
        return json_text.read(self._message.input)

    @cached_property
    def outputs(self) -> Mapping[str, Any]:
        """What earlier steps have returned, by name: JSON values, and None for a step that was skipped."""
        return _Outputs(self._message)

    @property
    def skipped(self) -> frozenset[str]:
        """The names of the steps that an operator left out."""
        return frozenset(self._message.skipped)

    @property
    def completion_token(self) -> str:
        """What `defer` returns; empty from a daemon that takes no deferred steps."""
        return self._message.completion_token

    def heartbeat(self, progress: Any = None) -> None:
        """Says that the work goes on, and how far it is: any JSON value. May be called from any thread, and often.

        A step with a `heartbeat` limit gives signs of life by itself as long as the worker's process is well; call
        this to report progress.
        """
        self._beat(self._key, b"" if progress is None else json_text.write(progress, "progress"))

    def defer(self, within: Duration | None = None) -> str:
        """Says that the step will be completed later, by whoever gets the token that this returns.

        Put the token where the answer will come from (a row in your database, the batch's file), and return nothing.
        When the function has returned, nobody has the step: it takes no place of this worker, no heartbeat is expected,
        and the worker may end. With the token any process of the service completes it, once, days later:
        `Orchestrator.complete_step(token, output)` or `fail_step(token, message)`, or `hmsact complete TOKEN`.

        `within` is how long that may take, "3d" say (1 ms to 10 years); then the attempt has timed out, and its retries
        apply. It takes the place of the step's timeout, which goes on when nothing is said here.

        A function that raises after this has not deferred: its step fails, as always. Raises InvalidArgument, and
        Unimplemented if the daemon is older than deferred steps.
        """
        if not self.completion_token:
            raise Unimplemented("the daemon takes no deferred steps: it is older than this package")
        deferred = worker_pb2.Deferred()
        if within is not None:
            within_ms = milliseconds(within)
            if not 1 <= within_ms <= WITHIN_MAX_MS:
                raise InvalidArgument(
                    "a step cannot be deferred for that long",
                    violations=(Violation("within", f"{within} is not between 1 ms and 10 years"),),
                )
            deferred.within.FromMilliseconds(within_ms)
        self._deferred = deferred
        return self.completion_token

    @property
    def deferred(self) -> worker_pb2.Deferred | None:
        """What the function has said of deferring the step, if it has."""
        return self._deferred

    def __repr__(self) -> str:
        return f"<Call {self.step} of {self.operation_id}, attempt {self.attempt}>"

    @property
    def _key(self) -> AttemptKey:
        return key_of(self._message.attempt)


class _Outputs(Mapping[str, Any]):
    """Outputs of earlier steps, each read when it is asked for."""

    def __init__(self, message: worker_pb2.Call) -> None:
        self._texts = message.outputs
        self._left_out = message.left_out
        self._values: dict[str, Any] = {}

    def __getitem__(self, step: str) -> Any:
        if step not in self._values:
            if step not in self._texts:
                raise KeyError(self._why_missing(step))
            self._values[step] = json_text.read(self._texts[step])
        return self._values[step]

    def __iter__(self) -> Iterator[str]:
        return iter(self._texts)

    def __len__(self) -> int:
        return len(self._texts)

    def __repr__(self) -> str:
        return f"{{{', '.join(self._texts)}}}"

    def _why_missing(self, step: str) -> str:
        if step in self._left_out:
            return f"the output of {step} was left out for its size; Orchestrator().get(call.operation_id) has it"
        return f"no earlier step is called {step}"


def key_of(attempt: worker_pb2.Attempt) -> AttemptKey:
    """What the daemon knows an attempt by, to look it up."""
    return attempt.namespace, attempt.operation_id, attempt.instance, attempt.attempt
