"""The rows of a question in one step of it, as JSON: the other half of `hmsactd.store.many`.

Every row that is fetched lets go of the interpreter's lock and has to get it back, against an event loop that is busy:
a page of a few hundred rows waited for the lock far longer than it took to find them.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from typing import Any


def rows_at_once(connection: sqlite3.Connection, columns: Sequence[str], sql: str, values: Sequence[object]) -> Any:
    """Returns the rows of a question, each a list of these columns of it, in its order. No value may be a blob."""
    # An aggregate that depends on the order of its rows keeps that of the question it is put over.
    row = f"json_array({', '.join(columns)})"
    (text,) = connection.execute(f"SELECT json_group_array({row}) FROM ({sql})", values).fetchone()  # noqa: S608
    return json.loads(text)
