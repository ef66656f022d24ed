"""Many rows in few statements.

Every step of a statement lets go of the interpreter's lock and has to get it back, against an event loop that is busy:
row by row, a batch of a few hundred rows waited for the lock far longer than for the disk.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from itertools import chain
from typing import Any

ROWS_MAX = 64
"""Rows of a statement. Fewer go in powers of two, so that seven statements of a kind serve every number of rows."""

Statement = Callable[[int, int], str]
"""The SQL for so many rows of so many columns each."""


def many(connection: sqlite3.Connection, statement: Statement, rows: Sequence[tuple[Any, ...]]) -> int:
    """Executes a statement for all rows; returns how many rows of the table it has touched."""
    touched = start = 0
    while start < len(rows):
        count = min(ROWS_MAX, 1 << ((len(rows) - start).bit_length() - 1))
        some = rows[start : start + count]
        touched += connection.execute(statement(count, len(some[0])), tuple(chain.from_iterable(some))).rowcount
        start += count
    return touched
