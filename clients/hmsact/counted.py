"""How many operations there are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hmsact.v1 import operation_pb2


@dataclass(frozen=True, slots=True)
class Counted:
    """A number of operations, and how many of each group there are; at least so many if `is_exact` is false."""

    count: int
    is_exact: bool
    groups: Mapping[str, int]

    def __str__(self) -> str:
        return f"{self.count:,}" if self.is_exact else f"at least {self.count:,}"


def counted_of(message: operation_pb2.CountOperationsResponse) -> Counted:
    """Reads the answer."""
    groups = {group.value: group.count for group in message.groups}
    return Counted(message.count, not message.is_at_least, groups)
