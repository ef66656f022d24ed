"""Steering one operation on its way."""

from __future__ import annotations

from hmsact.operation import OperationFacts
from hmsact.orchestrator.connection import AsyncConnection, Connection
from hmsact.recorded import Recorded
from hmsact.requests import Clock


class Steering(Connection):
    """Pauses, resumes and cancels an operation; retries and skips its steps."""

    def pause(
        self,
        operation: str | OperationFacts,
        reason: str | None = None,
        *,
        clock: Clock | None = None,
        expected_revision: int = 0,
        request_id: str | None = None,
    ) -> Recorded:
        """Freezes an operation at its current step. With clock="stop" its own SLA stops, too; that needs a reason.

        `expected_revision` is that of the flow you have seen; 0 is any. Raises PreconditionFailed, Aborted.
        """
        request = self._requests.pause(operation, reason, clock, expected_revision, request_id)
        return self._change(self._stubs.operations.PauseOperation, request)

    def resume(
        self,
        operation: str | OperationFacts,
        reason: str | None = None,
        *,
        expected_revision: int = 0,
        request_id: str | None = None,
    ) -> Recorded:
        """Lets a paused operation go on. Raises PreconditionFailed, Aborted."""
        request = self._requests.resume(operation, reason, expected_revision, request_id)
        return self._change(self._stubs.operations.ResumeOperation, request)

    def cancel(
        self,
        operation: str | OperationFacts,
        reason: str | None = None,
        *,
        expected_revision: int = 0,
        request_id: str | None = None,
    ) -> Recorded:
        """Ends an operation; no further work is done. Raises PreconditionFailed, Aborted."""
        request = self._requests.cancel(operation, reason, expected_revision, request_id)
        return self._change(self._stubs.operations.CancelOperation, request)

    def retry(
        self,
        operation: str | OperationFacts,
        step: str,
        reason: str | None = None,
        *,
        expected_revision: int = 0,
        request_id: str | None = None,
    ) -> Recorded:
        """Gives a stalled step fresh retries. Raises PreconditionFailed if it is not stalled."""
        request = self._requests.retry(operation, step, reason, expected_revision, request_id)
        return self._change(self._stubs.operations.RetryStep, request)

    def skip(
        self,
        operation: str | OperationFacts,
        step: str,
        reason: str,
        *,
        expected_revision: int = 0,
        request_id: str | None = None,
    ) -> Recorded:
        """Leaves a stalled step out, for a reason; later steps read null for its output.

        Raises PreconditionFailed if it is not stalled, Refused for whoever started the operation.
        """
        request = self._requests.skip(operation, step, reason, expected_revision, request_id)
        return self._change(self._stubs.operations.SkipStep, request)


class AsyncSteering(AsyncConnection):
    """The twin of Steering for coroutines."""

    async def pause(
        self,
        operation: str | OperationFacts,
        reason: str | None = None,
        *,
        clock: Clock | None = None,
        expected_revision: int = 0,
        request_id: str | None = None,
    ) -> Recorded:
        """Freezes an operation at its current step. With clock="stop" its own SLA stops, too; that needs a reason."""
        request = self._requests.pause(operation, reason, clock, expected_revision, request_id)
        return await self._change(self._stubs.operations.PauseOperation, request)

    async def resume(
        self,
        operation: str | OperationFacts,
        reason: str | None = None,
        *,
        expected_revision: int = 0,
        request_id: str | None = None,
    ) -> Recorded:
        """Lets a paused operation go on."""
        request = self._requests.resume(operation, reason, expected_revision, request_id)
        return await self._change(self._stubs.operations.ResumeOperation, request)

    async def cancel(
        self,
        operation: str | OperationFacts,
        reason: str | None = None,
        *,
        expected_revision: int = 0,
        request_id: str | None = None,
    ) -> Recorded:
        """Ends an operation; no further work is done."""
        request = self._requests.cancel(operation, reason, expected_revision, request_id)
        return await self._change(self._stubs.operations.CancelOperation, request)

    async def retry(
        self,
        operation: str | OperationFacts,
        step: str,
        reason: str | None = None,
        *,
        expected_revision: int = 0,
        request_id: str | None = None,
    ) -> Recorded:
        """Gives a stalled step fresh retries."""
        request = self._requests.retry(operation, step, reason, expected_revision, request_id)
        return await self._change(self._stubs.operations.RetryStep, request)

    async def skip(
        self,
        operation: str | OperationFacts,
        step: str,
        reason: str,
        *,
        expected_revision: int = 0,
        request_id: str | None = None,
    ) -> Recorded:
        """Leaves a stalled step out, for a reason; later steps read null for its output."""
        request = self._requests.skip(operation, step, reason, expected_revision, request_id)
        return await self._change(self._stubs.operations.SkipStep, request)
