"""The checks of an endpoint that the daemon calls over HTTPS, and playing them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from standardwebhooks import Webhook

from hmsactd.conformance import answers
from hmsactd.conformance.called import reached
from hmsactd.conformance.check import Check, Result, played

CHECKS: Final = (
    Check("call", "does a call and answers with its output", "answers", answers.answers),
    Check("large", "takes and gives payloads close to the bound", "limits", answers.carries_much),
    Check("unknown", "skips members that it does not know", "requests", answers.skips_what_it_does_not_know),
    Check("retry", "says when a failure may be tried again", "answers", answers.fails_for_now),
    Check("permanent", "says when a failure is for good", "answers", answers.fails_for_good),
    Check("step", "refuses a step that it does not do", "answers", answers.knows_its_steps),
    Check("body", "refuses a body that is not JSON", "requests", answers.refuses_what_is_no_call),
    Check("key", "gives one answer for one idempotency key", "answers", answers.does_once_what_has_one_key),
    Check("twin", "does once what comes twice at a time", "requests", answers.does_once_what_comes_twice_at_a_time),
    Check("attempt", "does not do again what an attempt did that failed", "attempts", answers.goes_on_where_it_failed),
    Check("later", "answers 202 when it defers", "deferred", answers.defers),
    Check("foreign", "refuses a wrong signature", "signatures", answers.refuses_a_foreign_signature),
    Check("unsigned", "refuses what is not signed", "signatures", answers.refuses_what_is_not_signed),
    Check("old", "refuses what was signed long ago", "signatures", answers.refuses_what_is_old),
    Check("rotation", "takes one good signature of two", "signatures", answers.takes_one_good_signature_of_two),
)


@dataclass(frozen=True, slots=True)
class ServicePlan:
    """What is to be checked. Without names every check is made; without a secret nothing is signed."""

    address: str
    svc: str
    names: Sequence[str] = ()
    secret: Webhook | None = None
    authorities: Path | None = None
    patience_s: float = 15


async def play_service(plan: ServicePlan, tell: Callable[[Result], None]) -> list[Result]:
    """Play the checks; `tell` is told every result as it comes."""
    results: list[Result] = []
    async with reached(plan.address, plan.svc, plan.secret, plan.authorities, plan.patience_s) as endpoint:
        for check in CHECKS:
            if not plan.names or check.name in plan.names:
                results.append(await played(check, endpoint))
                tell(results[-1])
    return results
