"""The checks of a worker, in the order in which they are played, and playing them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hmsactd.conformance import deferral, losses, steps
from hmsactd.conformance.agency import running
from hmsactd.conformance.check import Check, Result, failed, played
from hmsactd.conformance.stage import Stage, opened
from hmsactd.conformance.tower import GRACE_S
from hmsactd.conformance.unmet import Unmet, expect

CHECKS: Final = (
    Check("hello", "says hello first, and names its service and steps", "hello", steps.says_hello),
    Check("call", "does a call and reports its output", "calls", steps.does_a_call),
    Check("large", "takes and gives payloads close to the bound", "limits", steps.carries_much),
    Check(
        "retry", "says when a failure may be tried again, and does the next attempt", "failures", steps.fails_for_now
    ),
    Check("permanent", "says when a failure is for good", "failures", steps.fails_for_good),
    Check("key", "does once what has one idempotency key", "attempts", steps.does_once_what_has_one_key),
    Check("at_once", "does as many calls at a time as max_in_flight says", "how-many-at-a-time", steps.works_at_a_time),
    Check("heartbeat", "gives signs of life while it works", "heartbeats", steps.beats),
    Check("twice", "does a call once that it is given twice", "calls", steps.takes_a_call_once),
    Check(
        "unknown",
        "skips fields and messages that it does not know",
        "later-versions",
        steps.skips_what_it_does_not_know,
    ),
    Check("later", "lets go of a call that it defers, and completes it", "deferred", deferral.completes_what_it_defers),
    Check("verdict", "keeps a report until there is a verdict on it", "verdicts", losses.keeps_what_has_no_verdict),
    Check("again", "sends a report again when asked to", "verdicts", losses.says_it_again_when_asked),
    Check("stale", "forgets a report that is stale, and goes on", "verdicts", losses.takes_stale_quietly),
    Check(
        "withdrawn",
        "gives up a call that nobody waits for, and reports it",
        "withdrawal",
        losses.stops_when_nobody_waits,
    ),
    Check(
        "drain", "keeps its calls while the daemon restarts in order", "sessions-and-tickets", losses.outlives_a_drain
    ),
    Check("crash", "keeps its calls while the daemon crashes", "sessions-and-tickets", losses.outlives_a_crash),
    Check(
        "gone",
        "gives up calls that went to another while it was away",
        "sessions-and-tickets",
        losses.gives_up_what_is_gone,
    ),
    Check("leaving", "leaves in order when it is told to end", "leaving", losses.leaves_in_order),
)


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be checked. Without names every check is made; `command` starts the worker, if it is ours to start."""

    svc: str
    listen: str
    names: Sequence[str] = ()
    command: Sequence[str] = ()
    wait_s: float = 300
    patience_s: float = 15
    grace_s: float = GRACE_S


async def play(plan: Plan, ready: Callable[[str], None], tell: Callable[[Result], None]) -> list[Result]:
    """Play the checks; `ready` is told the address, `tell` every result as it comes. Raises StartRefused."""
    results: list[Result] = []
    async with AsyncExitStack() as stack:
        data = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="hmsactd-conformance-")))
        stage = await stack.enter_async_context(opened(plan.svc, plan.listen, data, plan.patience_s, plan.grace_s))
        ready(stage.listen)
        if plan.command:
            stage.agency = await stack.enter_async_context(
                running(plan.command, stage.listen, f"dev:svc/{plan.svc}", lambda code: _worker_ended(stage, code))
            )
        checks = [check for check in CHECKS if not plan.names or check.name in plan.names]
        absent = await _absent(stage, plan)
        for check in checks:
            result = absent(check) if absent is not None else await played(check, stage)
            await stage.tidy()
            results.append(result)
            tell(result)
    return results


async def _absent(stage: Stage, plan: Plan) -> Callable[[Check[Stage]], Result] | None:
    """Wait for the worker; if none comes, or not as it should, every check fails for that reason."""
    try:
        await stage.transcript.find(lambda line: line, f"a worker of {plan.svc} that connects", plan.wait_s)
        await stage.welcome()
        svc = stage.hellos()[0].svc
        expect(svc == plan.svc, f"a worker of {plan.svc} that connects", f"the one that did is of {svc}")
    except Unmet as unmet:
        reason = unmet
        return lambda check: failed(check, reason)
    return None


def _worker_ended(stage: Stage, code: int) -> None:
    stage.transcript.close(f"the worker's process ended with exit code {code}")
