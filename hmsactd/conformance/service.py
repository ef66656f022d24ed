"""The checks of a service that the daemon calls, over HTTPS or gRPC, and playing them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from hmsactd.conformance import answers, called_grpc, called_https, doors, signatures
from hmsactd.conformance.called import Asked
from hmsactd.conformance.check import Check, Result, Subject, played
from hmsactd.conformance.target import Target

EITHER: Final[tuple[Check[Asked], ...]] = (
    Check("call", "does a call and answers with its output", "answers", answers.answers),
    Check("large", "takes and gives payloads close to the bound", "limits", answers.carries_much),
    Check("unknown", "skips members that it does not know", "requests", answers.skips_what_it_does_not_know),
    Check("retry", "says when a failure may be tried again", "answers", answers.fails_for_now),
    Check("permanent", "says when a failure is for good", "answers", answers.fails_for_good),
    Check("step", "refuses a step that it does not do", "answers", answers.knows_its_steps),
    Check("key", "gives one answer for one idempotency key", "answers", answers.does_once_what_has_one_key),
    Check("twin", "does once what comes twice at a time", "requests", answers.does_once_what_comes_twice_at_a_time),
    Check("attempt", "does not do again what an attempt did that failed", "attempts", answers.goes_on_where_it_failed),
    Check("hang_up", "does a step whose first attempt was hung up on", "requests", answers.goes_on_after_a_hang_up),
    Check("later", "says so when it defers", "deferred", answers.defers),
)
HTTPS_CHECKS: Final[tuple[Check[called_https.Endpoint], ...]] = (
    *EITHER,
    Check("body", "refuses a body that is not JSON", "requests", signatures.refuses_what_is_no_call),
    Check("foreign", "refuses a wrong signature", "signatures", signatures.refuses_a_foreign_signature),
    Check("unsigned", "refuses what is not signed", "signatures", signatures.refuses_what_is_not_signed),
    Check("old", "refuses what was signed long ago", "signatures", signatures.refuses_what_is_old),
    Check("rotation", "takes one good signature of two", "signatures", signatures.takes_one_good_signature_of_two),
)
GRPC_CHECKS: Final[tuple[Check[called_grpc.StepServer], ...]] = (
    *EITHER,
    Check("health", "is there when it is looked for", "over-grpc", doors.is_found),
    Check("stranger", "refuses who shows no certificate of the daemon's", "over-grpc", doors.refuses_strangers),
)


@dataclass(frozen=True, slots=True)
class ServicePlan:
    """What is to be checked. Without names every check is made."""

    target: Target
    names: Sequence[str] = ()
    patience_s: float = 15


def names_of(address: str) -> list[str]:
    """The names of the checks of a service at an address."""
    is_grpc = address.startswith("grpc")
    return [check.name for check in (GRPC_CHECKS if is_grpc else HTTPS_CHECKS)]


async def play_service(plan: ServicePlan, tell: Callable[[Result], None]) -> list[Result]:
    """Play the checks; `tell` is told every result as it comes."""
    if plan.target.called.is_grpc:
        async with called_grpc.reached(plan.target, plan.patience_s) as server:
            return await _played(GRPC_CHECKS, server, plan.names, tell)
    async with called_https.reached(plan.target, plan.patience_s) as endpoint:
        return await _played(HTTPS_CHECKS, endpoint, plan.names, tell)


async def _played(
    checks: Sequence[Check[Subject]], subject: Subject, names: Sequence[str], tell: Callable[[Result], None]
) -> list[Result]:
    results: list[Result] = []
    for check in checks:
        if not names or check.name in names:
            results.append(await played(check, subject))
            tell(results[-1])
    return results
