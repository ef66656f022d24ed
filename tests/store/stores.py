"""The stores that there are, and a new log in each."""

from collections.abc import Callable
from pathlib import Path

from hmsactd.store.memory import MemoryStore
from hmsactd.store.sqlite import DATABASE_FILE, SqliteStore
from hmsactd.store.store import Birth, Store

BIRTH = Birth("hmsactd-abcdefghijkl/log/0", "hmsactd-abcdefghijkl+00000000+key")
MADE: dict[str, Callable[[Path], Store]] = {
    "memory": lambda _: MemoryStore(),
    "sqlite": lambda directory: SqliteStore(directory / DATABASE_FILE),
}
