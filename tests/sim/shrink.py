"""Makes a failing plan smaller: leaves out one thing after the other for as long as it still fails in the same way."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields, replace

from tests.sim.plan import Plan
from tests.sim.world import Outcome, run

SEEDS_TRIED = 20
"""With less in it, a plan leads elsewhere: other seeds may still lead there."""


def shrunk(plan: Plan, say: Callable[[str], None]) -> Outcome:
    """The outcome of the smallest failing plan that was found; that of the plan itself if it does not fail."""
    best = run(plan)
    if not best.broken:
        say(f"seed {plan.seed} does not fail")
        return best
    is_smaller = True
    while is_smaller:
        is_smaller = False
        for smaller in _smaller(best.plan):
            found = _failing(smaller, _claim(best))
            if found is not None:
                say(f"still fails: {found.plan}")
                best, is_smaller = found, True
                break
    return best


def _claim(outcome: Outcome) -> str:
    return outcome.broken.partition(":")[0]


def _failing(plan: Plan, claim: str) -> Outcome | None:
    for seed in (plan.seed, *range(SEEDS_TRIED)):
        outcome = run(replace(plan, seed=seed))
        if outcome.broken and _claim(outcome) == claim:
            return outcome
    return None


def _smaller(plan: Plan) -> Iterator[Plan]:
    """The plan with one thing less: first without it, then with half of it."""
    for each in fields(plan):
        value = getattr(plan, each.name)
        least: object = {"seconds": 2, "clients": 1, "starts": 1, "items_max": 1, "services": 1, "workers": 1}.get(
            each.name, 0
        )
        if each.name in ("seed", "heartbeat_s", "failpoint", "failpoint_at"):
            continue
        if isinstance(value, bool):
            if value:
                yield replace(plan, **{each.name: False})  # type: ignore[arg-type]
        elif isinstance(value, float):
            if value > 0:
                yield replace(plan, **{each.name: 0.0})  # type: ignore[arg-type]
        elif isinstance(value, int) and value > least:  # type: ignore[operator]
            yield replace(plan, **{each.name: least})  # type: ignore[arg-type]
            if value // 2 > least:  # type: ignore[operator]
                yield replace(plan, **{each.name: value // 2})  # type: ignore[arg-type]
