"""Finding operations: one, many, or how many there are."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from typing import Unpack

from hmsact.counted import Counted, counted_of
from hmsact.duration import Duration
from hmsact.errors import HmsactError
from hmsact.operation import AsyncOperation, Operation, OperationFacts
from hmsact.orchestrator.connection import AsyncConnection, Connection
from hmsact.requests import PAGE_SIZE
from hmsact.wait import Waiting
from hmsact.wanted import GroupBy, OrderBy, Wanted


class Operations(Connection):
    """Fetches operations, waits for one, lists and counts them."""

    def get(self, operation: str | OperationFacts) -> Operation:
        """Fetches an operation by its id, or by any part of the id that no other has. Raises NotFound."""
        answer = self._call(self._stubs.operations.GetOperation, self._requests.get(operation))
        return Operation(answer.operation, self, is_whole=True)

    def wait(self, operation: str | OperationFacts, timeout: Duration | float | None = None) -> Operation:
        """Waits until an operation is final, or until the time is up, and returns it; see Operation.wait."""
        waiting = Waiting(timeout)
        while True:
            span_s = waiting.span_s()
            try:
                answer = self._call(
                    self._stubs.operations.WaitOperation,
                    self._requests.wait(operation, span_s),
                    timeout_s=span_s + self._target.timeout_s,
                )
            except HmsactError as error:
                time.sleep(waiting.lost_s(error))
                continue
            waiting.regained()
            reached = Operation(answer.operation, self, is_whole=bool(answer.operation.items))
            if reached.is_final or waiting.is_over():
                return reached

    def operations(
        self, *, order_by: OrderBy | None = None, limit: int | None = None, **wanted: Unpack[Wanted]
    ) -> Iterator[Operation]:
        """Operations for which everything that is said holds, the newest first, fetched page by page as they are read.

        What can be said is in hmsact.wanted: state="stalled", service="IRS", labels={"office": "east"}, text="roe",
        since=… and more. `order_by` is a time such as "end_time desc", `limit` the most to return.
        """
        token, left = "", limit
        while left is None or left > 0:
            size = PAGE_SIZE if left is None else min(left, PAGE_SIZE)
            request = self._requests.list(wanted, order_by, size, token)
            page = self._call(self._stubs.operations.ListOperations, request)
            for summary in page.operations:
                yield Operation(summary, self, is_whole=False)
            token = page.next_page_token
            if not token:
                return
            left = None if left is None else left - len(page.operations)

    def count(self, **wanted: Unpack[Wanted]) -> int:
        """How many operations `operations` would return, or, where those are very many, how many at least."""
        return self.counted(**wanted).count

    def counted(self, group_by: GroupBy | None = None, **wanted: Unpack[Wanted]) -> Counted:
        """How many operations there are, whether that is exact, and how many of each state, name, role or service."""
        return counted_of(self._call(self._stubs.operations.CountOperations, self._requests.count(wanted, group_by)))


class AsyncOperations(AsyncConnection):
    """The twin of Operations for coroutines."""

    async def get(self, operation: str | OperationFacts) -> AsyncOperation:
        """Fetches an operation by its id, or by any part of the id that no other has."""
        answer = await self._call(self._stubs.operations.GetOperation, self._requests.get(operation))
        return AsyncOperation(answer.operation, self, is_whole=True)

    async def wait(
        self,
        operation: str | OperationFacts,
        timeout: Duration | float | None = None,  # noqa: ASYNC109 - as the blocking twin has it
    ) -> AsyncOperation:
        """Waits until an operation is final, or until the time is up, and returns it; see Operation.wait."""
        waiting = Waiting(timeout)
        while True:
            span_s = waiting.span_s()
            try:
                answer = await self._call(
                    self._stubs.operations.WaitOperation,
                    self._requests.wait(operation, span_s),
                    timeout_s=span_s + self._target.timeout_s,
                )
            except HmsactError as error:
                await asyncio.sleep(waiting.lost_s(error))
                continue
            waiting.regained()
            reached = AsyncOperation(answer.operation, self, is_whole=bool(answer.operation.items))
            if reached.is_final or waiting.is_over():
                return reached if answer.operation.items else await self.get(operation)

    async def operations(
        self, *, order_by: OrderBy | None = None, limit: int | None = None, **wanted: Unpack[Wanted]
    ) -> AsyncIterator[AsyncOperation]:
        """Operations for which everything that is said holds, the newest first, fetched page by page as they are read.

        What can be said is in hmsact.wanted: state="stalled", service="IRS", labels={"office": "east"}, text="roe",
        since=… and more. `order_by` is a time such as "end_time desc", `limit` the most to return.
        """
        token, left = "", limit
        while left is None or left > 0:
            size = PAGE_SIZE if left is None else min(left, PAGE_SIZE)
            request = self._requests.list(wanted, order_by, size, token)
            page = await self._call(self._stubs.operations.ListOperations, request)
            for summary in page.operations:
                yield AsyncOperation(summary, self, is_whole=False)
            token = page.next_page_token
            if not token:
                return
            left = None if left is None else left - len(page.operations)

    async def count(self, **wanted: Unpack[Wanted]) -> int:
        """How many operations `operations` would return, or, where those are very many, how many at least."""
        return (await self.counted(**wanted)).count

    async def counted(self, group_by: GroupBy | None = None, **wanted: Unpack[Wanted]) -> Counted:
        """How many operations there are, whether that is exact, and how many of each state, name, role or service."""
        return counted_of(
            await self._call(self._stubs.operations.CountOperations, self._requests.count(wanted, group_by))
        )
