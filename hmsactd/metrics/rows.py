"""The rows that metrics are restored from and refreshed with. Whoever keeps operations has rows like these."""
# ruff: noqa: D102 -- what the properties are is said by the classes

from __future__ import annotations

from typing import Protocol


class Tally(Protocol):
    """How many operations of a definition are in a state."""

    @property
    def namespace(self) -> str: ...
    @property
    def definition(self) -> str: ...
    @property
    def state(self) -> str: ...
    @property
    def count(self) -> int: ...


class Alarmed(Protocol):
    """An operation with alarms."""

    @property
    def namespace(self) -> str: ...
    @property
    def definition(self) -> str: ...
    @property
    def alarms(self) -> str | None: ...


class Pending(Protocol):
    """How many decisions of a checkpoint a role owes, and since when the oldest."""

    @property
    def namespace(self) -> str: ...
    @property
    def definition(self) -> str: ...
    @property
    def checkpoint(self) -> str: ...
    @property
    def role(self) -> str: ...
    @property
    def count(self) -> int: ...
    @property
    def oldest_since(self) -> int: ...


class Queue(Protocol):
    """How many steps of a service await a worker, and since when the oldest."""

    @property
    def namespace(self) -> str: ...
    @property
    def svc(self) -> str: ...
    @property
    def count(self) -> int: ...
    @property
    def oldest_since(self) -> int: ...
