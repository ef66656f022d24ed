"""What a verifier says of a file that isn't as it was signed."""

from __future__ import annotations


class Tampered(Exception):
    """Raised for a file that is not as its daemon signed it. `sequence` is the first bad event, if it is one."""

    def __init__(self, problem: str, sequence: int | None = None) -> None:
        super().__init__(problem if sequence is None else f"event {sequence}: {problem}")
        self.problem = problem
        self.sequence = sequence
