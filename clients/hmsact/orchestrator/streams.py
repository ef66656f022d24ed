"""The stream over all operations of the namespace."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from hmsact.choice import choice_of, start_of
from hmsact.duration import Duration
from hmsact.event import Event
from hmsact.operation import OperationFacts
from hmsact.orchestrator.system import AsyncSystem, System
from hmsact.place import Place, demand_of
from hmsact.stream import AsyncEventStream, EventStream


class Streams(System):
    """Opens streams; one that proves what it gives out asks the daemon for its key by what System has."""

    def stream(
        self,
        *,
        after: str | Event | None = None,
        since: datetime | Duration | None = None,
        from_start: bool = False,
        all: bool = False,  # noqa: A002 - the word of the contract
        kinds: str | Iterable[str] = (),
        names: str | Iterable[str] = (),
        operations: Iterable[str | OperationFacts] = (),
        items: str | Iterable[str] = (),
        by: str | Iterable[str] = (),
        follow: bool = True,
        payloads: bool = False,
        records: bool = False,
        prove: bool = False,
        key: str | None = None,
        seal: str | None = None,
    ) -> EventStream:
        """The events of all operations of the namespace, in the order of the log: an iterator that does not end.

        It begins with the next event; or `after` an event or a cursor of an earlier stream with the same filter; or
        `since` a time, or a length of time ago; or at the beginning, with `from_start`. Without `all` and `kinds` it
        tells the narrated kinds. `names` are those of definitions, `items` of steps and checkpoints, `by` kinds of
        principals ("person", "service", "agent", "system"): all that is said must hold. With follow=False it ends after
        what is recorded now; `payloads` adds what was said, `records` the records as they stand on disk.

        It goes on by itself when the daemon was away, without gap or repetition; `cursor` is where to resume.

        With `prove` it checks that nothing was left out, changed, repeated or moved, and gives an event out only when a
        seal of the daemon proves it; else it raises NotProved, which names the position. `key` is the verifier key
        that you trust (without it, the one that the daemon says it has), `seal` a seal that you have kept: the log must
        have grown from it. Of what a filter withholds it proves that it is there, and not what it is.

        The iterator raises InvalidArgument, and PreconditionFailed with the reason CURSOR_AHEAD or CURSOR_DIVERGED if
        the daemon was restored to a state from before the cursor.
        """
        choice = choice_of(all, kinds, names, operations, items, by, follow=follow, payloads=payloads, records=records)
        place = Place(
            self._requests,
            choice,
            start_of(after, since, from_start=from_start),
            demand_of(key, seal, prove=prove),
            namespace=self.namespace,
            address=self.address,
        )
        return EventStream(
            place,
            lambda request: self._stubs.timelines.WatchEvents(request, metadata=self._target.metadata),
            self.info,
            self.address,
        )


class AsyncStreams(AsyncSystem):
    """The twin of Streams for coroutines."""

    def stream(
        self,
        *,
        after: str | Event | None = None,
        since: datetime | Duration | None = None,
        from_start: bool = False,
        all: bool = False,  # noqa: A002 - the word of the contract
        kinds: str | Iterable[str] = (),
        names: str | Iterable[str] = (),
        operations: Iterable[str | OperationFacts] = (),
        items: str | Iterable[str] = (),
        by: str | Iterable[str] = (),
        follow: bool = True,
        payloads: bool = False,
        records: bool = False,
        prove: bool = False,
        key: str | None = None,
        seal: str | None = None,
    ) -> AsyncEventStream:
        """The events of all operations of the namespace, in the order of the log; see Orchestrator.stream."""
        choice = choice_of(all, kinds, names, operations, items, by, follow=follow, payloads=payloads, records=records)
        place = Place(
            self._requests,
            choice,
            start_of(after, since, from_start=from_start),
            demand_of(key, seal, prove=prove),
            namespace=self.namespace,
            address=self.address,
        )
        return AsyncEventStream(
            place,
            lambda request: self._stubs.timelines.WatchEvents(request, metadata=self._target.metadata),
            self.info,
            self.address,
        )
