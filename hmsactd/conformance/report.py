"""How the results of a conformance check read: a line for each, and for a failed one what to mend and where to read."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from textwrap import wrap
from typing import Final

from hmsactd.conformance.check import Outcome, Result

SIGNS: Final = {Outcome.PASSED: "✓", Outcome.FAILED: "✗", Outcome.NOT_RUN: "–"}
WIDTH: Final = 100


def lines(result: Result) -> Iterator[str]:
    """One result, for people."""
    yield f"{SIGNS[result.outcome]} {result.name:<10} {result.claim}"
    told = {"expected": result.expected, "happened": result.happened, "read": result.read}
    if result.outcome is Outcome.NOT_RUN:
        told = {"not run": result.happened}
    for label, words in told.items() if result.outcome is not Outcome.PASSED else ():
        first, *rest = wrap(words, WIDTH) or [""]
        yield f"    {label:<9} {first}"
        yield from (f"    {'':<9} {line}" for line in rest)


def summary(results: Sequence[Result]) -> str:
    """All of them, in a sentence."""
    counts = {outcome: sum(result.outcome is outcome for result in results) for outcome in Outcome}
    told = f"{counts[Outcome.PASSED]} of {len(results)} checks passed"
    if counts[Outcome.FAILED]:
        told += f", {counts[Outcome.FAILED]} failed"
    if counts[Outcome.NOT_RUN]:
        told += f", {counts[Outcome.NOT_RUN]} not run"
    return told


def passed(results: Sequence[Result]) -> bool:
    """True if nothing failed, and something was checked."""
    outcomes = {result.outcome for result in results}
    return Outcome.FAILED not in outcomes and Outcome.PASSED in outcomes


def as_json(subject: str, results: Sequence[Result]) -> str:
    """All of them, for machines."""
    checks = [result.as_json() for result in results]
    return json.dumps({"subject": subject, "passed": passed(results), "checks": checks}, ensure_ascii=False)
