"""Handles on operations: what was last fetched of one, and how to fetch it again.

They decide nothing and steer nothing; that is the orchestrator's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Self

from hmsact import json_text
from hmsact.duration import Duration
from hmsact.item import ClockReading, ItemStatus, clock_of, item_of
from hmsact.plain import plain, time_of, time_or_none
from hmsact.principal import Principal, principal_of
from hmsact.recorded import FINAL_STATES, Recorded, state_of
from hmsact.v1 import operation_pb2

if TYPE_CHECKING:
    from hmsact.orchestrator.operations import AsyncOperations, Operations


@dataclass(frozen=True, slots=True)
class Awaited:
    """What an operation waits for.

    `kind` is "worker", "report", "completion", "decision", "operator", "clock" or empty; `who` the service or the role,
    `name` the step or checkpoint. Times are in UTC.
    """

    kind: str
    who: str
    name: str
    since_time: datetime | None
    due_time: datetime | None


class OperationFacts:
    """What was last fetched of an operation. Times are in UTC; `state` is a word such as "running"."""

    def __init__(self, message: operation_pb2.Operation, *, is_whole: bool) -> None:
        self._message = message
        self._is_whole = is_whole
        self.recorded: Recorded | None = None
        """What its start recorded, with the receipt to keep; None for one that was not started by this handle."""

    @property
    def id(self) -> str:
        """Its id, "op_…"."""
        return self._message.id

    @property
    def namespace(self) -> str:
        """Its namespace."""
        return self._message.namespace

    @property
    def name(self) -> str:
        """The name of its definition."""
        return self._message.name or self._fetched().name

    @property
    def state(self) -> str:
        """Its state when it was last fetched: "running", "waiting", "paused", "stalled", or a final one."""
        return state_of(self._message.state)

    @property
    def is_final(self) -> bool:
        """True if it was final when it was last fetched: completed, rejected, failed or cancelled."""
        return self.state in FINAL_STATES

    @property
    def revision(self) -> int:
        """The revision of its flow."""
        return self._message.revision

    @property
    def sequence(self) -> int:
        """The sequence of its last event."""
        return self._message.sequence

    @property
    def key(self) -> str:
        """Its business key; empty without one."""
        return self._message.key

    @property
    def labels(self) -> Mapping[str, str]:
        """Its labels."""
        return dict(self._message.labels)

    @property
    def start_time(self) -> datetime:
        """When it was started."""
        return time_of(self._fetched().start_time)

    @property
    def update_time(self) -> datetime:
        """When its last event was recorded."""
        return time_of(self._fetched().update_time)

    @property
    def end_time(self) -> datetime | None:
        """When it became final; None before."""
        return time_or_none(self._fetched(), "end_time")

    @property
    def started_by(self) -> Principal:
        """Who started it."""
        return principal_of(self._fetched().started_by)

    @property
    def requested_by(self) -> str:
        """For whom it was started: as the starter asserted, else the person on whose behalf that was done."""
        return self._fetched().requested_by

    @property
    def is_requested_by_verified(self) -> bool:
        """True if `requested_by` had signed in, and False if it is what the starter asserted."""
        return self._fetched().is_requested_by_verified

    @property
    def awaited(self) -> Awaited:
        """What it waits for."""
        awaited = self._fetched().awaited
        return Awaited(
            awaited.kind,
            awaited.who,
            awaited.name,
            time_or_none(awaited, "since_time"),
            time_or_none(awaited, "due_time"),
        )

    @property
    def clock(self) -> ClockReading | None:
        """The clock of its own SLA; None without one."""
        whole = self._fetched()
        return clock_of(whole.clock) if whole.HasField("clock") else None

    @property
    def definition_digest(self) -> str:
        """SHA-256 of the canonical JSON of its definition, in hex."""
        return self._fetched().definition_digest

    @property
    def items(self) -> tuple[ItemStatus, ...]:
        """Its flow: how every step and checkpoint stands, in order."""
        return tuple(item_of(item) for item in self._whole().items)

    @property
    def input(self) -> Any:
        """Its input; None also where the caller may not see it."""
        return json_text.read(self._whole().input)

    @property
    def output(self) -> Any:
        """The output of the last step that was done; None before, and where the caller may not see it."""
        return json_text.read(self._whole().output)

    @property
    def outputs(self) -> Mapping[str, Any]:
        """The outputs of the steps that are done, by name."""
        return {item.name: item.output for item in self.items if item.state == "done"}

    def as_json(self) -> dict[str, Any]:
        """What was fetched, as a value that can be written as JSON."""
        return plain(self._message)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id} {self._message.name}: {self.state}>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, OperationFacts):
            return NotImplemented
        return (self.namespace, self.id) == (other.namespace, other.id)

    def __hash__(self) -> int:
        return hash((self.namespace, self.id))

    def _fetched(self) -> operation_pb2.Operation:
        """What a summary has, too. The answer to a start has less."""
        return self._message if self._message.HasField("start_time") else self._whole()

    def _whole(self) -> operation_pb2.Operation:
        """Everything, with flow, input and output."""
        raise NotImplementedError

    def _replace(self, newer: OperationFacts) -> None:
        self._message = newer._message
        self._is_whole = newer._is_whole


class Operation(OperationFacts):
    """A handle on an operation. It shows what was last fetched; `refresh` and `wait` fetch again.

    What a list leaves out (flow, input, output) is fetched when it is first asked for.
    """

    def __init__(self, message: operation_pb2.Operation, client: Operations, *, is_whole: bool) -> None:
        super().__init__(message, is_whole=is_whole)
        self._client = client

    def refresh(self) -> Self:
        """Fetches it again, and returns itself."""
        self._replace(self._client.get(self.id))
        return self

    def wait(self, timeout: Duration | float | None = None) -> Self:
        """Waits until it is final, and returns itself.

        `timeout` is a text such as "2m", a timedelta or a number of seconds; without it this waits for ever. When the
        time is up first, the operation is returned as it then is: `is_final` tells. Short absences of the daemon are
        waited out; a long one raises Unavailable.
        """
        self._replace(self._client.wait(self.id, timeout))
        return self

    def _whole(self) -> operation_pb2.Operation:
        if not self._is_whole:
            self.refresh()
        return self._message


class AsyncOperation(OperationFacts):
    """A handle on an operation, for coroutines. It shows what was last fetched; `refresh` and `wait` fetch again.

    Flow, input and output of one that came from a start or a list can be read after a `refresh` or `wait`; before, they
    raise LookupError.
    """

    def __init__(self, message: operation_pb2.Operation, client: AsyncOperations, *, is_whole: bool) -> None:
        super().__init__(message, is_whole=is_whole)
        self._client = client

    async def refresh(self) -> Self:
        """Fetches it again, and returns itself."""
        self._replace(await self._client.get(self.id))
        return self

    async def wait(self, timeout: Duration | float | None = None) -> Self:  # noqa: ASYNC109 - as the blocking twin has it
        """Waits until it is final, and returns itself; see Operation.wait."""
        self._replace(await self._client.wait(self.id, timeout))
        return self

    def _whole(self) -> operation_pb2.Operation:
        if not self._is_whole:
            raise LookupError("only a summary was fetched so far: call `await operation.refresh()` first")
        return self._message


def id_of(operation: str | OperationFacts) -> str:
    """The id, of an operation or of itself."""
    return operation if isinstance(operation, str) else operation.id
