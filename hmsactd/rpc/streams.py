"""How many streams each principal has open, of whatever kind, and the bound on that."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from hmsactd.core.principal import Principal
from hmsactd.errors import ResourceExhausted


class Streams:
    """The streams that are open, counted by principal. Every servicer that streams shares it."""

    def __init__(self, per_principal_max: int) -> None:
        self._most = per_principal_max
        self._open: Counter[str] = Counter()

    @contextmanager
    def one_more(self, who: Principal) -> Iterator[None]:
        """A principal has a stream open meanwhile; raises `ResourceExhausted` at the bound."""
        if self._open[who.id] >= self._most:
            raise ResourceExhausted(
                "STREAMS_MAX",
                f"{who.id} has {self._most} streams open, and that is the bound (streams_per_principal_max)",
            )
        self._open[who.id] += 1
        try:
            yield
        finally:
            self._open[who.id] -= 1
            if not self._open[who.id]:
                del self._open[who.id]
