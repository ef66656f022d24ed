"""Starting operations, singly or in a stream of many."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping

from hmsact import bulk, flow
from hmsact.duration import Duration
from hmsact.many import Item, Many, Start, StartResult
from hmsact.operation import AsyncOperation, Operation
from hmsact.orchestrator.operations import AsyncOperations, Operations
from hmsact.recorded import recorded_of
from hmsact.requests import KeyPolicy


class Starts(Operations):
    """Starts operations; its results are handles, which fetch again by what Operations has."""

    def start(
        self,
        *,
        name: str | None = None,
        steps: flow.Steps,
        input: object = None,  # noqa: A002 - the word of the contract
        key: str | None = None,
        key_policy: KeyPolicy | None = None,
        labels: Mapping[str, str] | None = None,
        request_id: str | None = None,
        reason: str | None = None,
        requested_by: str | None = None,
        sla: Duration | None = None,
    ) -> Operation:
        """Starts an operation; it has been recorded when this returns.

        `name` names the flow and `steps` is a list of Step and Checkpoint, or a whole definition as a mapping (then its
        name will do). `input` is any value that JSON has. `key` is a business key such as a case number, `key_policy`
        what to do when it is taken; `labels` are to find it by. `request_id` makes a start of your own safe to repeat
        (one is made up otherwise). `requested_by` says for whom it is, as you assert it; `sla` bounds the whole.

        Raises InvalidArgument with every fault of the definition, each with its JSON pointer, and AlreadyExists when
        the key is taken.
        """
        request = self._requests.start(
            name, steps, input, key, key_policy, labels, request_id, reason, requested_by, sla
        )
        answer = self._call(self._stubs.operations.StartOperation, request)
        operation = Operation(self._requests.started(request, answer), self, is_whole=False)
        operation.recorded = recorded_of(answer.recorded)
        # The open operation that has the key may be of another name.
        return operation.refresh() if key_policy == "return_open" else operation

    def start_many(
        self,
        items: Iterable[Item],
        *,
        name: str | None = None,
        steps: flow.Steps | None = None,
        key_policy: KeyPolicy | None = None,
        labels: Mapping[str, str] | None = None,
        request_id: str | None = None,
        reason: str | None = None,
        requested_by: str | None = None,
        sla: Duration | None = None,
    ) -> Iterator[StartResult[Operation]]:
        """Starts many operations, by the same flow or by flows of their own, and gives a result for each, in order.

        `items` is anything that can be iterated over: each is a Start, or its fields by name, as in
        {"input": {"income": 41250}, "key": "case-7"}. They are taken as they are needed, so that millions cost no
        more memory than a thousand. `name`, `steps`, `sla`, `key_policy`, `reason` and `requested_by` are for all
        that say no other, `labels` are added to each one's own. With a `request_id` of yours, item n (from 1) is
        sent as "REQUEST_ID-n", so that the whole run is safe to repeat: what was started before is not started again.

        A result has either an `operation` or an `error`; what is wrong with one item does not touch the others. It
        connects again by itself and sends again what has no result; while the daemon takes no starts it waits for as
        long as that asks, ten minutes at most. What your items raise is raised when all that came before has its
        result. Whoever stops early may have started more than they saw.
        """
        common = Start(
            key_policy=key_policy,
            labels=labels,
            request_id=request_id,
            reason=reason,
            requested_by=requested_by,
            name=name,
            steps=steps,
            sla=sla,
        )
        many = Many(self._requests, common, lambda message: Operation(message, self, is_whole=False), self.address)
        return bulk.run(
            many,
            items,
            lambda messages: self._stubs.operations.StartOperations(messages, metadata=self._target.metadata),
            self.address,
        )


class AsyncStarts(AsyncOperations):
    """The twin of Starts for coroutines."""

    async def start(
        self,
        *,
        name: str | None = None,
        steps: flow.Steps,
        input: object = None,  # noqa: A002 - the word of the contract
        key: str | None = None,
        key_policy: KeyPolicy | None = None,
        labels: Mapping[str, str] | None = None,
        request_id: str | None = None,
        reason: str | None = None,
        requested_by: str | None = None,
        sla: Duration | None = None,
    ) -> AsyncOperation:
        """Starts an operation; it has been recorded when this returns."""
        request = self._requests.start(
            name, steps, input, key, key_policy, labels, request_id, reason, requested_by, sla
        )
        answer = await self._call(self._stubs.operations.StartOperation, request)
        operation = AsyncOperation(self._requests.started(request, answer), self, is_whole=False)
        operation.recorded = recorded_of(answer.recorded)
        # The open operation that has the key may be of another name.
        return await operation.refresh() if key_policy == "return_open" else operation

    def start_many(
        self,
        items: Iterable[Item] | AsyncIterable[Item],
        *,
        name: str | None = None,
        steps: flow.Steps | None = None,
        key_policy: KeyPolicy | None = None,
        labels: Mapping[str, str] | None = None,
        request_id: str | None = None,
        reason: str | None = None,
        requested_by: str | None = None,
        sla: Duration | None = None,
    ) -> AsyncIterator[StartResult[AsyncOperation]]:
        """Starts many operations and gives a result for each, in order; `items` may be iterated over asynchronously."""
        common = Start(
            key_policy=key_policy,
            labels=labels,
            request_id=request_id,
            reason=reason,
            requested_by=requested_by,
            name=name,
            steps=steps,
            sla=sla,
        )
        many = Many(self._requests, common, lambda message: AsyncOperation(message, self, is_whole=False), self.address)
        return bulk.run_async(
            many, items, lambda: self._stubs.operations.StartOperations(metadata=self._target.metadata), self.address
        )
