"""Raised when a worker or a service does otherwise than a check asks for."""

from __future__ import annotations


class Unmet(Exception):
    """What was expected, and what happened instead, in sentences for whoever writes the worker."""

    def __init__(self, expected: str, happened: str) -> None:
        super().__init__(f"expected {expected}; {happened}")
        self.expected = expected
        self.happened = happened


class NotApplicable(Exception):
    """A check cannot be made here; the sentence says why."""


def expect(holds: bool, expected: str, happened: str) -> None:
    """Raise Unmet unless something holds."""
    if not holds:
        raise Unmet(expected, happened)
