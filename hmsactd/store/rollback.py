"""What stays on the record of going on from an older state of the log, as after a restore.

Records and seals made afterwards have another epoch than any of those that were lost: an epoch counts up from one to
the next by one, and by a million where an operator has accepted a rollback.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import Final

INCARNATION: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Rollback:
    """The seal that the log went on from, and the one beyond it (or beside it) that is known to have been made."""

    at: int
    size: int
    seal: str
    lost_size: int
    lost_seal: str


def incarnation_of(epoch: int) -> int:
    """How many rollbacks had been accepted when a log was opened."""
    return epoch // INCARNATION


def note_rollback(connection: sqlite3.Connection, rollback: Rollback) -> None:
    """Writes it down, in the transaction that begins the incarnation."""
    connection.execute(
        "INSERT INTO rollback (at, size, seal, lost_size, lost_seal) VALUES (?, ?, ?, ?, ?)",
        (rollback.at, rollback.size, rollback.seal, rollback.lost_size, rollback.lost_seal),
    )
