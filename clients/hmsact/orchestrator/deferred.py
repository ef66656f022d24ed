"""Deferred steps: what became of one that somebody else was left to complete."""

from __future__ import annotations

from hmsact.duration import Duration
from hmsact.orchestrator.connection import AsyncConnection, Connection
from hmsact.recorded import CompletedStep, completed_of


class DeferredSteps(Connection):
    """Completes deferred steps, by their tokens."""

    def complete_step(self, token: str, output: object = None, *, request_id: str | None = None) -> CompletedStep:
        """Says that a deferred step is done, with the token that `call.defer()` returned; once, from any process.

        `output` is any value that JSON has. You must be the service that the step is done by. Raises PreconditionFailed
        with the reason ALREADY_COMPLETED (it says when, and by whom), ATTEMPT_OVER or OPERATION_FINAL: too late, what
        you said is kept on the record and changes nothing. InvalidArgument if it is no token of this daemon; Refused.
        """
        request = self._requests.complete_step(token, output, request_id)
        return completed_of(self._call(self._stubs.workers.CompleteStep, request))

    def fail_step(
        self,
        token: str,
        message: str,
        *,
        retryable: bool = True,
        code: str | None = None,
        retry_after: Duration | None = None,
        request_id: str | None = None,
    ) -> CompletedStep:
        """Says that a deferred step has failed: why, for people, and in UPPER_SNAKE for machines; errors as above.

        With retryable=False another attempt would be of no use, and the operation fails; `retry_after` is how long the
        service asks to be left alone.
        """
        request = self._requests.fail_step(token, message, code, retry_after, request_id, retryable=retryable)
        return completed_of(self._call(self._stubs.workers.CompleteStep, request))


class AsyncDeferredSteps(AsyncConnection):
    """The twin of DeferredSteps for coroutines."""

    async def complete_step(self, token: str, output: object = None, *, request_id: str | None = None) -> CompletedStep:
        """Says that a deferred step is done, with the token that `call.defer()` returned; once, from any process."""
        request = self._requests.complete_step(token, output, request_id)
        return completed_of(await self._call(self._stubs.workers.CompleteStep, request))

    async def fail_step(
        self,
        token: str,
        message: str,
        *,
        retryable: bool = True,
        code: str | None = None,
        retry_after: Duration | None = None,
        request_id: str | None = None,
    ) -> CompletedStep:
        """Says that a deferred step has failed: why, for people, and in UPPER_SNAKE for machines."""
        request = self._requests.fail_step(token, message, code, retry_after, request_id, retryable=retryable)
        return completed_of(await self._call(self._stubs.workers.CompleteStep, request))
