"""What a call that changes something has recorded, and the evidence of it."""

from __future__ import annotations

from dataclasses import dataclass

from hmsact.plain import word
from hmsact.v1 import operation_pb2, worker_pb2

STATES = tuple(
    word(operation_pb2.OperationState.DESCRIPTOR, number) for number in operation_pb2.OperationState.values() if number
)
"""The states of an operation."""

FINAL_STATES = frozenset({"completed", "rejected", "failed", "cancelled"})
"""The states of an operation after which no more work is done."""


@dataclass(frozen=True, slots=True)
class Receipt:
    """Evidence to keep: with it anybody can check later that nothing was rewritten.

    `log` is the origin of the log, `index` that of the operation's last record in it, `leaf` that record's leaf hash
    (hex), and `seal` the C2SP signed note over the tree head that covers it.
    """

    log: str
    index: int
    leaf: str
    seal: str


@dataclass(frozen=True, slots=True)
class Recorded:
    """What was recorded.

    `state` is the operation's after it, `revision` that of its flow, `sequence` that of the last event recorded.
    `is_repeated` says that the same request had been carried out before, and this is its result.
    """

    state: str
    revision: int
    sequence: int
    receipt: Receipt
    is_repeated: bool


@dataclass(frozen=True, slots=True)
class CompletedStep(Recorded):
    """What was recorded of a step that was completed with its token, and of which operation."""

    namespace: str
    operation_id: str


def completed_of(message: worker_pb2.CompleteStepResponse) -> CompletedStep:
    """Reads what was recorded of a completed step."""
    recorded = recorded_of(message.recorded)
    return CompletedStep(
        recorded.state,
        recorded.revision,
        recorded.sequence,
        recorded.receipt,
        recorded.is_repeated,
        message.namespace,
        message.operation_id,
    )


def recorded_of(message: operation_pb2.Recorded) -> Recorded:
    """Reads what was recorded."""
    return Recorded(
        state=state_of(message.state),
        revision=message.revision,
        sequence=message.sequence,
        receipt=Receipt(message.receipt.log, message.receipt.index, message.receipt.leaf.hex(), message.receipt.seal),
        is_repeated=message.repeated_request,
    )


def state_of(state: operation_pb2.OperationState.ValueType) -> str:
    """The word for a state of an operation, such as "running"."""
    return word(operation_pb2.OperationState.DESCRIPTOR, state)
