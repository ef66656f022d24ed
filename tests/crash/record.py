"""What a data directory holds, read without the daemon: every record of the log, and its last seal."""

from __future__ import annotations

import json
import sqlite3
from collections import Counter, defaultdict
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hmsact.note import Note, TreeHead, VerifierKey

from hmsactd.store.sqlite import DATABASE_FILE
from tests.timeline import naive


@dataclass
class Log:
    """All records, in the order of the log."""

    leaves: list[bytes] = field(default_factory=list)
    operations: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    rows: dict[str, tuple[str, int]] = field(default_factory=dict)
    seal: str = ""
    key: str = ""


def read(directory: Path) -> Log:
    log = Log()
    with closing(sqlite3.connect(f"file:{directory / DATABASE_FILE}?mode=ro", uri=True)) as database:
        for position, record, leaf in database.execute("SELECT position, record, leaf FROM event ORDER BY position"):
            assert position == len(log.leaves), "the log has no gap"
            assert naive.leaf_hash(record) == leaf, f"record {position} is what its leaf says"
            told = json.loads(record)
            assert told["index"] == position
            log.leaves.append(leaf)
            log.operations[told["operation"]].append(told)
        log.rows = {
            operation: (state, sequence)
            for operation, state, sequence in database.execute("SELECT operation, state, sequence FROM operation")
        }
        seals = database.execute("SELECT note FROM seal ORDER BY size DESC LIMIT 1")
        log.seal = next((note for (note,) in seals), "")
        ((log.key, size),) = database.execute("SELECT verifier_key, size FROM log")
    assert size == len(log.leaves)
    return log


def check_seal(log: Log, key: str) -> None:
    """The last seal is the daemon's, and covers every record there is."""
    assert log.key == key
    note = Note.parse(log.seal)
    assert note.is_signed_by(VerifierKey.parse(key))
    head = TreeHead.parse(note.body)
    assert (head.size, head.root) == (len(log.leaves), naive.root(log.leaves))


def check_operations(log: Log, steps: int) -> Counter[str]:
    """Every operation is complete, and each of its steps was done once. Returns what has happened, by kind."""
    happened = check_chains(log)
    for operation, records in log.operations.items():
        kinds = [told["kind"] for told in records]
        assert kinds[-1] == "operation_completed", (operation, kinds)
        done = [told["subject"]["instance"] for told in records if told["kind"] == "step_done"]
        assert done == list(range(1, steps + 1)), (operation, kinds)
        assert kinds.count("operation_completed") == 1
        assert log.rows[operation] == ("completed", len(records))
    return happened


def check_chains(log: Log) -> Counter[str]:
    """Every operation is gapless and chained, no attempt has two outcomes. Returns what has happened, by kind."""
    happened: Counter[str] = Counter()
    for operation, records in log.operations.items():
        assert [told["sequence"] for told in records] == list(range(1, len(records) + 1)), operation
        before = [None, *(log.leaves[told["index"]].hex() for told in records)]
        assert [told["prev"] for told in records] == before[:-1], operation
        kinds = [told["kind"] for told in records]
        happened.update(kinds)
        assert kinds[0] == "operation_started", operation
        outcomes = Counter(
            (told["subject"]["instance"], told["subject"]["attempt"])
            for told in records
            if told["kind"] in ("step_done", "step_failed", "step_lost")
        )
        assert set(outcomes.values()) <= {1}, (operation, kinds)
        done = Counter(told["subject"]["instance"] for told in records if told["kind"] == "step_done")
        assert set(done.values()) <= {1}, (operation, kinds)
        assert log.rows[operation][1] == len(records)
    assert set(log.rows) == set(log.operations)
    return happened
