"""What can go wrong in keeping things."""

from __future__ import annotations

from enum import StrEnum


class Trouble(StrEnum):
    """What keeps the store from writing. Callers are told this word, and it ends by itself or never."""

    DISK_FULL = "DISK_FULL"
    READ_ONLY = "STORE_READ_ONLY"
    IO_ERROR = "STORE_IO_ERROR"
    CORRUPT = "STORE_CORRUPT"
    UNAVAILABLE = "STORE_UNAVAILABLE"


FOR_GOOD = frozenset({Trouble.CORRUPT})
"""Trouble that no waiting ends: the daemon stops rather than go on with data that it can't trust."""


RESTORE = "restore the data directory from a backup; `hmsactd doctor --full` says what is wrong with it"
"""What to do about damaged data."""


class Fenced(Exception):
    """Raised when somebody else has written after the head that the writer knew; nothing was written."""


class Unavailable(Exception):
    """Raised when the store could not say that it has kept something; whether it has is known after loading again.

    `is_in_doubt` unless nothing can have been kept.
    """

    def __init__(self, sentence: str, trouble: Trouble = Trouble.UNAVAILABLE, *, is_in_doubt: bool = False) -> None:
        super().__init__(sentence)
        self.trouble = trouble
        self.is_in_doubt = is_in_doubt

    @property
    def reason(self) -> str:
        """The same for machines, in UPPER_SNAKE."""
        return self.trouble.value


class DataRefused(Exception):
    """Raised at start when the data directory must not be used as it is."""
