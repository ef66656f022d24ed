"""Decisions at checkpoints, which are people's."""

from __future__ import annotations

from hmsact.inbox import Pending, Shown, pending_of
from hmsact.operation import OperationFacts
from hmsact.orchestrator.connection import AsyncConnection, Connection
from hmsact.recorded import Recorded
from hmsact.requests import PAGE_SIZE


class Checkpoints(Connection):
    """Lists pending decisions, shows what they are about, and makes them."""

    def inbox(self, role: str | None = None, *, limit: int = 1000) -> list[Pending]:
        """Decisions that wait for somebody, the longest waiting first: of a role, or of every role that you have."""
        pending: list[Pending] = []
        token = ""
        while len(pending) < limit:
            size = min(limit - len(pending), PAGE_SIZE)
            page = self._call(self._stubs.checkpoints.ListCheckpoints, self._requests.inbox(role, size, token))
            pending += map(pending_of, page.checkpoints)
            token = page.next_page_token
            if not token:
                break
        return pending

    def shown(self, operation: str | OperationFacts, checkpoint: str | None = None) -> Shown:
        """What is shown to whoever decides a checkpoint; without a name, the pending one. Raises NotFound."""
        return Shown(self._call(self._stubs.checkpoints.GetCheckpoint, self._requests.shown(operation, checkpoint)))

    def approve(
        self,
        operation: str | OperationFacts,
        checkpoint: str,
        comment: str | None = None,
        seen: str | Shown | None = None,
        *,
        request_id: str | None = None,
    ) -> Recorded:
        """Approves a pending checkpoint.

        `seen` is what you were shown (from `shown`), or its digest in hex; without it the decision is recorded as
        unseen. Raises Refused if you may not decide, PreconditionFailed if it is not pending or has changed since.
        """
        request = self._requests.approve(operation, checkpoint, comment, seen, request_id)
        return self._change(self._stubs.checkpoints.ApproveCheckpoint, request)

    def reject(
        self,
        operation: str | OperationFacts,
        checkpoint: str,
        comment: str | None = None,
        seen: str | Shown | None = None,
        *,
        request_id: str | None = None,
    ) -> Recorded:
        """Rejects a pending checkpoint, which ends the operation; arguments and errors as of `approve`."""
        request = self._requests.reject(operation, checkpoint, comment, seen, request_id)
        return self._change(self._stubs.checkpoints.RejectCheckpoint, request)

    def claim(
        self,
        operation: str | OperationFacts,
        checkpoint: str,
        reason: str | None = None,
        *,
        request_id: str | None = None,
    ) -> Recorded:
        """Takes a pending decision on, so that others see it. Raises Refused, PreconditionFailed."""
        request = self._requests.claim(operation, checkpoint, reason, request_id)
        return self._change(self._stubs.checkpoints.ClaimCheckpoint, request)

    def release(
        self,
        operation: str | OperationFacts,
        checkpoint: str,
        reason: str | None = None,
        *,
        request_id: str | None = None,
    ) -> Recorded:
        """Gives a claim of your own back. Raises PreconditionFailed."""
        request = self._requests.release(operation, checkpoint, reason, request_id)
        return self._change(self._stubs.checkpoints.ReleaseCheckpoint, request)

    def assign(
        self,
        operation: str | OperationFacts,
        checkpoint: str,
        assignee: str,
        reason: str | None = None,
        *,
        request_id: str | None = None,
    ) -> Recorded:
        """Assigns a pending decision to a person, "issuer:subject", who must hold the role."""
        request = self._requests.assign(operation, checkpoint, assignee, reason, request_id)
        return self._change(self._stubs.checkpoints.AssignCheckpoint, request)


class AsyncCheckpoints(AsyncConnection):
    """The twin of Checkpoints for coroutines."""

    async def inbox(self, role: str | None = None, *, limit: int = 1000) -> list[Pending]:
        """Decisions that wait for somebody, the longest waiting first: of a role, or of every role that you have."""
        pending: list[Pending] = []
        token = ""
        while len(pending) < limit:
            size = min(limit - len(pending), PAGE_SIZE)
            page = await self._call(self._stubs.checkpoints.ListCheckpoints, self._requests.inbox(role, size, token))
            pending += map(pending_of, page.checkpoints)
            token = page.next_page_token
            if not token:
                break
        return pending

    async def shown(self, operation: str | OperationFacts, checkpoint: str | None = None) -> Shown:
        """What is shown to whoever decides a checkpoint; without a name, the pending one."""
        request = self._requests.shown(operation, checkpoint)
        return Shown(await self._call(self._stubs.checkpoints.GetCheckpoint, request))

    async def approve(
        self,
        operation: str | OperationFacts,
        checkpoint: str,
        comment: str | None = None,
        seen: str | Shown | None = None,
        *,
        request_id: str | None = None,
    ) -> Recorded:
        """Approves a pending checkpoint."""
        request = self._requests.approve(operation, checkpoint, comment, seen, request_id)
        return await self._change(self._stubs.checkpoints.ApproveCheckpoint, request)

    async def reject(
        self,
        operation: str | OperationFacts,
        checkpoint: str,
        comment: str | None = None,
        seen: str | Shown | None = None,
        *,
        request_id: str | None = None,
    ) -> Recorded:
        """Rejects a pending checkpoint, which ends the operation; arguments and errors as of `approve`."""
        request = self._requests.reject(operation, checkpoint, comment, seen, request_id)
        return await self._change(self._stubs.checkpoints.RejectCheckpoint, request)

    async def claim(
        self,
        operation: str | OperationFacts,
        checkpoint: str,
        reason: str | None = None,
        *,
        request_id: str | None = None,
    ) -> Recorded:
        """Takes a pending decision on, so that others see it."""
        request = self._requests.claim(operation, checkpoint, reason, request_id)
        return await self._change(self._stubs.checkpoints.ClaimCheckpoint, request)

    async def release(
        self,
        operation: str | OperationFacts,
        checkpoint: str,
        reason: str | None = None,
        *,
        request_id: str | None = None,
    ) -> Recorded:
        """Gives a claim of your own back."""
        request = self._requests.release(operation, checkpoint, reason, request_id)
        return await self._change(self._stubs.checkpoints.ReleaseCheckpoint, request)

    async def assign(
        self,
        operation: str | OperationFacts,
        checkpoint: str,
        assignee: str,
        reason: str | None = None,
        *,
        request_id: str | None = None,
    ) -> Recorded:
        """Assigns a pending decision to a person, "issuer:subject", who must hold the role."""
        request = self._requests.assign(operation, checkpoint, assignee, reason, request_id)
        return await self._change(self._stubs.checkpoints.AssignCheckpoint, request)
