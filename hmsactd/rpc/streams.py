"""How many streams are open, of each principal and in all, of whatever kind, and the bounds on that."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from hmsactd.core.principal import Principal
from hmsactd.errors import ResourceExhausted

NOBODY = ""
"""Stands for all who are not asked who they are."""

TRY_AGAIN_AFTER_MS = 5_000
"""When to try again where all places are taken: streams last."""


class Streams:
    """The streams that are open, counted by principal. Every servicer that streams shares it."""

    def __init__(self, per_principal_max: int, most: int) -> None:
        self._per_principal_max = per_principal_max
        self._most = most
        self._open: Counter[str] = Counter()
        self._count = 0

    def one_more(self, who: Principal) -> AbstractContextManager[None]:
        """A principal has a stream open meanwhile; raises `ResourceExhausted` at either bound."""
        return self._one_more(who.id)

    def one_of_nobody(self) -> AbstractContextManager[None]:
        """Somebody has a call open who was not asked who they are: all of them share the places of one principal."""
        return self._one_more(NOBODY)

    @contextmanager
    def _one_more(self, who: str) -> Iterator[None]:
        if self._open[who] >= self._per_principal_max:
            raise ResourceExhausted(
                "STREAMS_MAX",
                f"{who or 'nobody'} has {self._per_principal_max} streams open, and that is the bound "
                "(streams_per_principal_max)",
            )
        if self._count >= self._most:
            raise ResourceExhausted(
                "ALL_STREAMS_MAX",
                f"{self._most} streams are open, the most allowed for all together (grpc.streams_max)",
                retry_after_ms=TRY_AGAIN_AFTER_MS,
            )
        self._open[who] += 1
        self._count += 1
        try:
            yield
        finally:
            self._count -= 1
            self._open[who] -= 1
            if not self._open[who]:
                del self._open[who]
