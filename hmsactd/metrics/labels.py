"""A bound on labels. Callers choose names of flows and steps, and each new one costs a series for good."""

from __future__ import annotations

from collections.abc import Hashable

OTHER = "other"

NAMES_MAX = 500
"""Distinct names of one sort: more than a console shows, and Prometheus minds thousands of series, not hundreds."""

PAIRS_MAX = 5_000
"""Distinct steps of definitions, all together: five hundred definitions of ten steps."""


class FirstSeen:
    """Keeps the first ones it sees: who is kept stays kept, who isn't never will be, so that no count moves over."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: set[Hashable] = set()

    def keeps(self, name: Hashable) -> bool:
        """True if it is one of the first."""
        if name in self._kept:
            return True
        if len(self._kept) >= self._most:
            return False
        self._kept.add(name)
        return True


class Labels:
    """Names as labels: themselves, or "other"."""

    def __init__(self) -> None:
        self._names: dict[str, FirstSeen] = {}
        self._pairs: dict[str, FirstSeen] = {}

    def name(self, sort: str, name: str) -> str:
        """The label for a name of a sort ("definition", "svc"…). None at all is no name, and always itself."""
        kept = self._names.setdefault(sort, FirstSeen(NAMES_MAX))
        return name if not name or kept.keeps(name) else OTHER

    def item(self, sort: str, within: tuple[str, ...], name: str) -> str:
        """The label for the name of a step or checkpoint, given the labels that it stands with."""
        pairs = self._pairs.setdefault(sort, FirstSeen(PAIRS_MAX))
        return name if not name or pairs.keeps((*within, name)) else OTHER
