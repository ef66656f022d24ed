"""Starting many operations: what stands between a caller's items and the daemon's results. It makes no calls itself.

Items are taken as they are needed, sent in batches, and kept until there is a result; what has none when a connection
breaks is sent again, under the same request ids.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import KW_ONLY, dataclass, fields
from typing import Generic, TypeVar

from hmsact import flow, json_text
from hmsact.duration import Duration
from hmsact.errors import HmsactError, InvalidArgument, ResourceExhausted, Unavailable, Violation
from hmsact.operation import AsyncOperation, Operation
from hmsact.recorded import recorded_of
from hmsact.requests import KeyPolicy, Requests, check_said
from hmsact.status import refusal_of
from hmsact.v1 import operation_pb2 as pb
from hmsact.watch import Patience, passes

log = logging.getLogger("hmsact.many")

BATCH_STARTS = 250
"""Starts that travel together."""

BATCH_BYTES_MAX = 512 * 1024
"""What a batch has at most. A start that is larger travels alone, so that it can be told whose fault it was."""

BATCHES_AHEAD = 4
"""Batches that are under way at a time: with BATCH_STARTS it bounds what is kept in memory."""

UNHURRIED_S = 0.05
"""Items that take longer to come are not waited for to fill a batch."""

AnyOperation = TypeVar("AnyOperation", Operation, AsyncOperation)


@dataclass(frozen=True, slots=True)
class Start:
    """One of many operations to be started: what `Orchestrator.start` takes, each field with the same meaning.

    What is left out is as said for all of them in `start_many`; labels are added to those. `name`, `steps` and `sla`
    are for a start with a flow of its own.
    """

    input: object = None
    _: KW_ONLY
    key: str | None = None
    key_policy: KeyPolicy | None = None
    labels: Mapping[str, str] | None = None
    request_id: str | None = None
    reason: str | None = None
    requested_by: str | None = None
    name: str | None = None
    steps: flow.Steps | None = None
    sla: Duration | None = None


Item = Start | Mapping[str, object] | InvalidArgument
"""A start, or its fields by name: {"input": {"income": 41250}, "key": "case-7"}. Or, where none could be made, the
error, which is then the result in its place."""

_FIELDS = tuple(field.name for field in fields(Start))


@dataclass(frozen=True, slots=True)
class StartResult(Generic[AnyOperation]):
    """What became of one of many starts: there is either an `operation` or an `error`, which can be raised.

    `index` counts the items from 0; `request_id` is what makes the same start safe to repeat.
    """

    index: int
    request_id: str
    operation: AnyOperation | None
    error: HmsactError | None


@dataclass(slots=True)
class _Kept:
    """An item that has been taken and whose result has not been given out."""

    index: int
    request: pb.StartOperationRequest
    name: str
    size: int = 0
    started: pb.StartOperationResponse | None = None
    error: HmsactError | None = None

    @property
    def is_settled(self) -> bool:
        return self.started is not None or self.error is not None


class Many(Generic[AnyOperation]):
    """The state of one run. Whoever makes the calls asks it what to do next.

    Raises InvalidArgument for what is wrong with what is said for all.
    """

    def __init__(
        self,
        requests: Requests,
        common: Start,
        make: Callable[[pb.Operation], AnyOperation],
        address: str,
    ) -> None:
        self._requests = requests
        self._common = common
        self._make: Callable[[pb.Operation], AnyOperation] = make
        self._address = address
        self._definition = b""
        self._name = ""
        check_said("request_id", common.request_id)
        if common.steps is not None:
            self._definition, self._name = _definition(common.name, common.steps, common.sla)
        self._patience = Patience()
        self._is_lost = False
        self._patience_for_starts = Patience()
        self._later_at = 0.0
        self._kept: deque[_Kept] = deque()
        self._to_send: deque[_Kept] = deque()
        self._to_send_bytes = 0
        self._sent: deque[tuple[int, list[_Kept]]] = deque()
        self._batches = 0
        self._is_definition_said = False
        self._taken = 0
        self._has_ended = False
        self._bytes_max = BATCH_BYTES_MAX

    # -- what to do next -----------------------------------------------------------------------------------------------

    @property
    def wants_items(self) -> bool:
        """True if there is room for another item."""
        return not (self._has_ended or self._later_at or self.is_batch_full) and len(self._sent) < BATCHES_AHEAD

    @property
    def is_batch_full(self) -> bool:
        """True if there are enough items for a message."""
        return len(self._to_send) >= BATCH_STARTS or self._to_send_bytes >= self._bytes_max

    @property
    def awaits_results(self) -> bool:
        """True if something was sent and has no result yet."""
        return bool(self._sent)

    @property
    def pause_s(self) -> float:
        """How long to wait before anything else can be sent."""
        return max(self._later_at - time.monotonic(), 0.0)

    def is_done(self) -> bool:
        """True if every item has its result, and there are no more."""
        return self._has_ended and not self._kept

    # -- the caller's items --------------------------------------------------------------------------------------------

    def take(self, item: object) -> None:
        """Take an item. What is wrong with it is its own result."""
        index, self._taken = self._taken, self._taken + 1
        try:
            kept = self._keep(index, item)
        except InvalidArgument as error:
            self._kept.append(_Kept(index, pb.StartOperationRequest(request_id=_said_id(item)), "", error=error))
        else:
            self._kept.append(kept)
            self._enqueue(kept)

    def end(self) -> None:
        """There are no more items."""
        self._has_ended = True

    def _keep(self, index: int, item: object) -> _Kept:
        start, common = _start_of(item), self._common
        definition, name = b"", self._name
        if start.name is not None or start.steps is not None or start.sla is not None:
            steps = start.steps if start.steps is not None else common.steps
            definition, name = _definition(start.name or common.name, steps, start.sla or common.sla)
        elif not self._definition:
            raise InvalidArgument(
                "there is no flow",
                reason="BAD_DEFINITION",
                violations=(Violation("steps", "are said neither for this start nor for all", "REQUIRED"),),
            )
        if start.labels is not None and not _are_texts(start.labels):
            fault = Violation("labels", "are names and texts", "BAD_LABEL")
            raise InvalidArgument("this is no start", reason="BAD_ITEM", violations=(fault,))
        request_id = start.request_id
        if request_id is None and common.request_id is not None:
            request_id = f"{common.request_id}-{index + 1}"
        try:
            request = self._requests.start_by(
                definition,
                start.input if start.input is not None else common.input,
                start.key if start.key is not None else common.key,
                start.key_policy or common.key_policy,
                {**(common.labels or {}), **(start.labels or {})},
                request_id,
                start.reason or common.reason,
                start.requested_by or common.requested_by,
            )
        except (TypeError, ValueError, KeyError) as error:
            raise InvalidArgument(f"this is no start: {error}", reason="BAD_ITEM") from error
        return _Kept(index, request, name, request.ByteSize())

    # -- what is sent, and what comes back -----------------------------------------------------------------------------

    def message(self) -> pb.StartOperationsRequest | None:
        """The next batch; None if there is nothing to send, or no room for it."""
        if not self._to_send or len(self._sent) >= BATCHES_AHEAD or self.pause_s:
            return None
        if self._sent and (self._is_large(self._to_send[0]) or self._is_large(self._sent[-1][1][0])):
            return None
        self._later_at = 0.0
        batch = [self._to_send.popleft()]
        size = batch[0].size
        while self._to_send and len(batch) < BATCH_STARTS and size + self._to_send[0].size <= self._bytes_max:
            batch.append(self._to_send.popleft())
            size += batch[-1].size
        self._to_send_bytes -= size
        self._batches += 1
        self._sent.append((self._batches, batch))
        message = pb.StartOperationsRequest(batch=self._batches, starts=[kept.request for kept in batch])
        if not self._is_definition_said:
            message.definition = self._definition
            self._is_definition_said = True
        return message

    def _is_large(self, kept: _Kept) -> bool:
        """True for a start that travels alone."""
        return kept.size > self._bytes_max

    def hear(self, response: pb.StartOperationsResponse | None) -> None:
        """Take results in; None is a stream that has ended too soon."""
        if response is None or not self._sent or response.batch != self._sent[0][0]:
            raise Unavailable(f"the daemon at {self._address} ended the stream of starts before it was over")
        self._patience.regained()
        self._is_lost = False
        batch, has_started = self._sent[0][1], False
        for kept, result in zip(batch[response.first :], response.results, strict=False):
            if result.HasField("started"):
                kept.started = result.started
                has_started = True
            else:
                self._refused(kept, refusal_of(result.refused))
        if has_started:
            self._patience_for_starts.regained()
        if response.first + len(response.results) >= len(batch):
            self._sent.popleft()

    def _refused(self, kept: _Kept, error: HmsactError) -> None:
        """If what stands in its way passes it is sent again later."""
        if not passes(error):
            kept.error = error
            return
        if not self._later_at:
            # Of many that are refused at once, the first says when.
            try:
                self._later_at = time.monotonic() + self._patience_for_starts.lost_s(error)
            except HmsactError:
                kept.error = error
                return
            log.warning("the daemon at %s takes no starts just now (%s); trying again", self._address, error)
        self._enqueue(kept)

    def _enqueue(self, kept: _Kept) -> None:
        self._to_send.append(kept)
        self._to_send_bytes += kept.size

    def lost_s(self, error: HmsactError) -> float:
        """The seconds to wait before connecting again; raises the error if it does not pass, or lasts."""
        sent: list[_Kept] = [kept for _, batch in self._sent for kept in batch]
        self._sent.clear()
        self._is_definition_said = False
        has_no_room = isinstance(error, ResourceExhausted) and not error.reason
        if has_no_room and len(sent) == 1:
            # It was under way alone: there is no message large enough for it.
            sent[0].error = error
        unanswered = {kept.index: kept for kept in (*sent, *self._to_send) if not kept.is_settled}
        self._to_send.clear()
        self._to_send_bytes = 0
        for index in sorted(unanswered):
            self._enqueue(unanswered[index])
        if has_no_room and sent:
            self._bytes_max //= 4 if len(sent) > 1 else 1
            return 0.0
        delay_s = self._patience.lost_s(error)
        if not self._is_lost:
            self._is_lost = True
            log.warning("lost the connection to the daemon at %s; trying again", self._address)
        return delay_s

    def results(self) -> Iterator[StartResult[AnyOperation]]:
        """The results that are next in order."""
        while self._kept and self._kept[0].is_settled:
            kept = self._kept.popleft()
            request, started = kept.request, kept.started
            if started is None:
                yield StartResult(kept.index, request.request_id, None, kept.error)
                continue
            # The open operation that has the key may be of another name.
            is_found = request.key_policy == pb.KEY_POLICY_RETURN_OPEN and started.recorded.repeated_request
            operation = self._make(self._requests.started(request, started, "" if is_found else kept.name))
            operation.recorded = recorded_of(started.recorded)
            yield StartResult(kept.index, request.request_id, operation, None)


def _definition(name: str | None, steps: object, sla: Duration | None) -> tuple[bytes, str]:
    said = flow.definition(name, steps, sla)
    return json_text.write(said, "definition"), said["name"]


def _start_of(item: object) -> Start:
    if isinstance(item, Start):
        return item
    if isinstance(item, InvalidArgument):
        raise item
    if not isinstance(item, Mapping):
        raise InvalidArgument(
            f"a {type(item).__name__} is no start: write Start(...), or its fields by name", reason="BAD_ITEM"
        )
    unknown = tuple(
        Violation(str(name), f"is no field of a start: {', '.join(_FIELDS)}", "UNKNOWN_FIELD")
        for name in item
        if name not in _FIELDS
    )
    if unknown:
        raise InvalidArgument("this is no start", reason="BAD_ITEM", violations=unknown)
    # What its values are is looked at when they are written down.
    return Start(**item)


def _are_texts(labels: object) -> bool:
    return isinstance(labels, Mapping) and all(isinstance(text, str) for said in labels.items() for text in said)


def _said_id(item: object) -> str:
    said = item.get("request_id") if isinstance(item, Mapping) else getattr(item, "request_id", None)
    return said if isinstance(said, str) else ""
