"""What is said, besides ids, of the many operations that a job is for."""

from __future__ import annotations

from typing import TypedDict, cast

from hmsact.wanted import Wanted


class Bounds(TypedDict, total=False):
    """What every job is told. What is left out or None says nothing.

    `reason` is recorded with each operation. everything=True means all of the namespace. With `count_max` the job is
    refused if more match; with dry_run=True it only says how many would be `expected`. `request_id` makes a job of your
    own safe to begin again (one is made up otherwise).
    """

    reason: str | None
    everything: bool
    count_max: int | None
    dry_run: bool
    request_id: str | None


class Selected(Wanted, Bounds, total=False):
    """Which operations, as for a list, and what every job is told."""


def wanted_of(selected: Selected) -> Wanted:
    """What of it chooses operations."""
    bounds = Bounds.__optional_keys__
    return cast("Wanted", {word: value for word, value in selected.items() if word not in bounds})
