"""What can go wrong in keeping things."""

from __future__ import annotations


class Fenced(Exception):
    """Raised when somebody else has written after the head that the writer knew; nothing was written."""


class Unavailable(Exception):
    """Raised when the store could not say that it has kept something; whether it has is known after loading again."""


class DataRefused(Exception):
    """Raised at start when the data directory must not be used as it is."""
