"""A changed copy of a frozen dataclass, as `dataclasses.replace` makes it, in a fraction of the time.

State changes with every event there is, so this is the core's hottest line. `replace` looks the fields up anew at
each call; here the copying is written out once for each class, in the way that `dataclasses` writes its own methods.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any, TypeVar

T = TypeVar("T")

SAME = object()
"""Stands for: as it was."""


def changer(frozen: type[T]) -> Callable[..., T]:
    """A function of one instance and the fields that change (by name), which gives the changed copy."""
    names = [field.name for field in fields(frozen)]  # type: ignore[arg-type]
    scope: dict[str, Any] = {"frozen": frozen, "make": object.__new__, "SAME": SAME}
    lines = [f"  new.{name} = old.{name} if {name} is SAME else {name}" for name in names]
    arguments = ", ".join(f"{name}=SAME" for name in names)
    exec("\n".join([f"def changed(old, /, *, {arguments}):", "  new = make(frozen)", *lines, "  return new"]), scope)  # noqa: S102 -- our own field names
    changed: Callable[..., T] = scope["changed"]
    return changed
