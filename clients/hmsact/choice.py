"""What a follower of all operations wants to see."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from hmsact.duration import Duration, milliseconds
from hmsact.errors import InvalidArgument, Violation
from hmsact.event import Event
from hmsact.operation import OperationFacts, id_of
from hmsact.v1 import principal_pb2, timeline_pb2


@dataclass(frozen=True, slots=True)
class Choice:
    """A filter, and how much of each event is sent."""

    everything: bool = False
    kinds: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    operations: tuple[str, ...] = ()
    items: tuple[str, ...] = ()
    by: tuple[str, ...] = ()
    follow: bool = True
    payloads: bool = False
    records: bool = False

    @property
    def is_unfiltered(self) -> bool:
        """True if every event of the namespace is wanted."""
        return self.everything and not (self.kinds or self.names or self.operations or self.items or self.by)

    def filter(self) -> timeline_pb2.EventFilter:
        """The filter, as the daemon is asked for it."""
        return timeline_pb2.EventFilter(
            kinds=self.kinds,
            # Kinds that are named are wanted, whether they tell the story or not.
            narrated=not self.everything and not self.kinds,
            definitions=self.names,
            operations=self.operations,
            subjects=self.items,
            principal_kinds=map(_principal_kind, self.by),
        )


def choice_of(
    everything: bool,
    kinds: str | Iterable[str],
    names: str | Iterable[str],
    operations: Iterable[str | OperationFacts],
    items: str | Iterable[str],
    by: str | Iterable[str],
    *,
    follow: bool,
    payloads: bool,
    records: bool,
) -> Choice:
    """What was asked for; where several may stand, one may stand alone."""
    ids = tuple(map(id_of, _several(operations)))
    return Choice(
        everything, _several(kinds), _several(names), ids, _several(items), _several(by), follow, payloads, records
    )


def start_of(
    after: str | Event | None, since: datetime | Duration | None, *, from_start: bool
) -> str | datetime | bool:
    """Where to begin: a cursor, a time, True for the beginning, False for now."""
    if sum((after is not None, since is not None, from_start)) > 1:
        raise InvalidArgument("a stream begins at one place: after, since or from_start", reason="TWO_STARTS")
    if isinstance(after, Event):
        return after.cursor
    if after is not None:
        if not after:
            raise InvalidArgument("the cursor is empty", violations=(Violation("after", "is empty", "REQUIRED"),))
        return after
    if since is None:
        return from_start
    if isinstance(since, datetime):
        if since.tzinfo is None:
            raise InvalidArgument("the time says no zone", violations=(Violation("since", "says no zone", "BAD_TIME"),))
        return since.astimezone(UTC)
    return datetime.now(UTC) - timedelta(milliseconds=milliseconds(since))


Several = TypeVar("Several", str, "str | OperationFacts")


def _several(said: str | Iterable[Several]) -> tuple[Several, ...]:
    return (said,) if isinstance(said, str) else tuple(said)


def _principal_kind(word: str) -> principal_pb2.PrincipalKind.ValueType:
    known = {
        name.removeprefix("PRINCIPAL_KIND_").lower(): number for name, number in principal_pb2.PrincipalKind.items()
    }
    number = known.get(word, principal_pb2.PRINCIPAL_KIND_UNSPECIFIED)
    if not number:
        sentence = f"{word!r} is no kind of principal: {', '.join(name for name, each in known.items() if each)}"
        raise InvalidArgument(sentence, violations=(Violation("by", sentence, "UNKNOWN_VALUE"),))
    return number
