"""The chains of the operations that an unfiltered follower sees: a record that is kept from it leaves a hole there."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from hmsact.errors import NotProved
from hmsact.told import Told

OPERATIONS_MAX: Final = 65_536
"""Operations whose last record is remembered: some 20 MiB. Of one that has been quiet for longer a hole goes unseen."""


class Chains:
    """The last record of each operation that was seen."""

    __slots__ = ("_from_beginning", "_last")

    def __init__(self, *, from_beginning: bool) -> None:
        self._from_beginning = from_beginning
        self._last: OrderedDict[str, tuple[int, str]] = OrderedDict()

    def add(self, told: Told) -> None:
        """Takes the next record of an operation; raises NotProved if there is one between it and the last."""
        last = self._last.pop(told.operation, None)
        if last is None and self._from_beginning:
            last = (0, None)  # type: ignore[assignment]
        if last is not None and (told.sequence, told.prev) != (last[0] + 1, last[1]):
            raise NotProved(
                f"event {told.sequence} of {told.operation} does not follow event {last[0]}, the last that was sent:"
                " records were withheld",
                told.index,
            )
        self._last[told.operation] = (told.sequence, told.leaf.hex())
        if len(self._last) > OPERATIONS_MAX:
            self._last.popitem(last=False)
            # An operation that is new here may be one that was forgotten.
            self._from_beginning = False
