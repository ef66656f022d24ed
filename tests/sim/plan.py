"""What one run is made of: how many take part, for how long, and what goes wrong how often. Drawn from the seed.

Not every fault is in every run: those that would hide each other's traces are kept apart by leaving each out now and
then. A plan is plain numbers, so that a failing one can be made smaller (`shrink`).
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

from tests.sim.chance import Chance


@dataclass(frozen=True, slots=True)
class Plan:
    """Rates are shares of 1; spans are seconds of virtual time."""

    seed: int
    seconds: int = 15
    """How long things go wrong."""
    clients: int = 2
    starts: int = 2
    items_max: int = 3
    services: int = 2
    workers: int = 1
    """Of each service."""
    watchers: int = 1
    log_followers: int = 0
    stuck: int = 0
    """Followers who open streams and never read on, also when all else is well."""
    heartbeat_s: int = 60
    """Of streams: what a follower was not told it finds out by then."""
    disorder: float = 0.5
    crashes: int = 0
    stops: int = 0
    write_fails: float = 0.0
    write_doubts: float = 0.0
    slow: float = 0.0
    full_spells: int = 0
    read_fails: float = 0.0
    cuts: float = 0.0
    leaves: float = 0.0
    """Callers who give up in the middle of a call."""
    meddling: float = 0.0
    """How often in a second an operator pauses, resumes, cancels, retries, skips."""
    step_fails: float = 0.0
    worker_crashes: float = 0.0
    worker_cuts: float = 0.0
    worker_silences: float = 0.0
    worker_twice: float = 0.0
    worker_late: float = 0.0
    worker_lies: float = 0.0
    worker_defers: float = 0.0
    """Not drawn from the seed yet: only where a test asks for it."""
    clock_jumps: int = 0
    small: bool = False
    """Bounds and pages are as small as they can be."""
    failpoint: str = ""
    """Where the daemon dies, and at which time that it comes there."""
    failpoint_at: int = 1

    def __str__(self) -> str:
        said = {each.name: getattr(self, each.name) for each in fields(self)}
        usual = Plan(self.seed)
        return " ".join(
            f"{name}={value}" for name, value in said.items() if value != getattr(usual, name) or name == "seed"
        )


FAULTS: dict[str, tuple[float, float]] = {
    "write_fails": (0.01, 0.15),
    "write_doubts": (0.01, 0.15),
    "slow": (0.02, 0.3),
    "read_fails": (0.005, 0.05),
    "cuts": (0.02, 0.25),
    "leaves": (0.05, 0.4),
    "meddling": (0.1, 1.0),
    "step_fails": (0.1, 0.5),
    "worker_crashes": (0.02, 0.15),
    "worker_cuts": (0.02, 0.2),
    "worker_silences": (0.02, 0.15),
    "worker_twice": (0.05, 0.4),
    "worker_late": (0.02, 0.2),
    "worker_lies": (0.05, 0.4),
}
"""From and to, of those that are a rate."""

COUNTED = {"crashes": 4, "stops": 2, "full_spells": 2, "clock_jumps": 4}
"""The most of those that are counted."""


def plan_of(seed: int) -> Plan:
    """The plan of a seed."""
    chance = Chance(seed).of("plan")
    rates = {
        name: round(chance.uniform(least, most), 3) if chance.random() < 0.5 else 0.0
        for name, (least, most) in FAULTS.items()
    }
    counts = {name: chance.randint(1, most) if chance.random() < 0.5 else 0 for name, most in COUNTED.items()}
    plan = replace(
        Plan(seed, **counts, **rates),  # type: ignore[arg-type]  # by name; they are what their table says
        seconds=chance.randint(5, 20),
        clients=chance.randint(1, 3),
        starts=chance.randint(1, 3),
        items_max=chance.randint(1, 4),
        services=chance.randint(1, 2),
        workers=chance.randint(1, 2),
        watchers=chance.randint(0, 2),
        log_followers=chance.randint(0, 1),
        stuck=chance.choice((0, 0, 1)),
        heartbeat_s=chance.choice((4, 60)),
        disorder=chance.choice((0.0, 0.2, 0.5, 1.0)),
        small=chance.random() < 0.25,
    )
    # A run in which nothing goes wrong has nothing to say.
    return plan if plan.crashes or plan.write_doubts or plan.worker_crashes else replace(plan, crashes=2)
