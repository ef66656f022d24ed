"""Tells readers that a timeline may have grown. Carries no events: whoever is told reads on from where they were.

So a slow reader costs a flag, and nothing is lost between what was read and what comes: register, then read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from types import TracebackType

WHOLE_LOG = ("", "")
"""The place of those who follow every operation there is."""


class Followers:
    """Everybody who follows, by operation; those who follow the whole log stand at no operation."""

    __slots__ = ("_followers",)

    def __init__(self) -> None:
        self._followers: dict[tuple[str, str], set[Follower]] = {}

    @property
    def has_of_log(self) -> bool:
        """True if somebody follows the whole log."""
        return WHOLE_LOG in self._followers

    def __len__(self) -> int:
        return sum(map(len, self._followers.values()))

    def follow(self, namespace: str, operation: str) -> Follower:
        """Returns a follower of an operation, registered from now on; leaving its context ends that."""
        follower = Follower(self, (namespace, operation))
        self._followers.setdefault(follower.place, set()).add(follower)
        return follower

    def tell(self, places: Iterable[tuple[str, str]]) -> None:
        """Tells the followers of some operations that these may have grown."""
        if not self._followers:
            return
        for place in (*places, WHOLE_LOG):
            for follower in self._followers.get(place, ()):
                follower.told()

    def leave(self, follower: Follower) -> None:
        """Forgets a follower."""
        following = self._followers.get(follower.place, set())
        following.discard(follower)
        if not following:
            self._followers.pop(follower.place, None)


class Follower:
    """One reader's flag."""

    __slots__ = ("_flag", "_followers", "place")

    def __init__(self, followers: Followers, place: tuple[str, str]) -> None:
        self._followers = followers
        self._flag = asyncio.Event()
        self.place = place

    def __enter__(self) -> Follower:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._followers.leave(self)

    def told(self) -> None:
        """Notes that the timeline may have grown."""
        self._flag.set()

    async def changed(self) -> None:
        """Returns when something may have been appended since this was last called, or since following began."""
        await self._flag.wait()
        self._flag.clear()
