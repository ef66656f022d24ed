"""What a job for many operations is told besides their ids."""

from __future__ import annotations

from typing import TypedDict, cast

from hmsact.wanted import Wanted


class Manner(TypedDict, total=False):
    """How a job is to be done, whichever operations it is for. What is left out or None says nothing.

    `reason` is recorded with each operation. everything=True means all of the namespace. With `count_max` the job is
    refused if more match; with dry_run=True it only says how many would be `expected`. `request_id` makes a job of your
    own safe to begin again (one is made up otherwise).
    """

    reason: str | None
    everything: bool
    count_max: int | None
    dry_run: bool
    request_id: str | None


class Selected(Wanted, Manner, total=False):
    """Which operations, as for a list, and how it is to be done with them."""


def wanted_of(selected: Selected) -> Wanted:
    """What of it chooses operations."""
    manner = Manner.__optional_keys__
    return cast("Wanted", {word: value for word, value in selected.items() if word not in manner})
