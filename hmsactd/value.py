"""A frozen slotted dataclass that is made as fast as a plain one.

Frozen at run time, every field of a new instance is set through `object.__setattr__`, which takes four times as long;
an operation makes some two hundred of them. Here the type checker alone keeps them frozen, for the classes that are
made for every event. Elsewhere `dataclass(frozen=True, slots=True)` says the same and is kept by the interpreter.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

T = TypeVar("T")

if TYPE_CHECKING:
    from dataclasses import dataclass as value
else:

    def value(*, frozen: bool, slots: bool) -> Callable[[type[T]], type[T]]:
        """Decorates a class as `dataclass(frozen=True, slots=True)` does, but for the refusal to be changed."""
        assert frozen, "a value does not change"
        return dataclass(slots=slots, unsafe_hash=True)


__all__ = ["value"]
