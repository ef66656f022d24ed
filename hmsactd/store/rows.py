"""Summaries as rows of the operation table, and back."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import fields
from functools import lru_cache
from operator import attrgetter
from typing import Any, Final

from hmsactd.store.store import Summary

# Written once, when an operation is begun; `labels` is, too, and stands in a table of its own besides.
BORN: Final = (
    "namespace",
    "operation",
    "definition",
    "digest",
    "started_at",
    "started_by",
    "person",
    "on_behalf_of",
    "key",
    "requested_by",
)
CHANGING: Final = tuple(field.name for field in fields(Summary) if field.name not in (*BORN, "labels"))

# In the order of Summary's fields, so that a row is its arguments.
SUMMARY_NAMES: Final = tuple(field.name for field in fields(Summary))
SUMMARY_COLUMNS: Final = ", ".join(SUMMARY_NAMES)
_LABELS_AT: Final = SUMMARY_NAMES.index("labels")


def columns_of(summary: Summary, names: tuple[str, ...]) -> tuple[Any, ...]:
    """Returns the values of some columns."""
    return _getter(names)(summary)


def summary_of(row: Sequence[Any]) -> Summary:
    """Returns the summary of a row of SUMMARY_COLUMNS."""
    values = list(row)
    values[_LABELS_AT] = tuple((key, value) for key, value in json.loads(values[_LABELS_AT]))
    return Summary(*values)


@lru_cache
def _getter(names: tuple[str, ...]) -> Callable[[Summary], tuple[Any, ...]]:
    getter: Callable[[Summary], tuple[Any, ...]] = attrgetter(*names)
    return getter
