"""Scenarios about an endpoint that the daemon calls: what it answers, once for each key, and to whom."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import anyio
from standardwebhooks import Webhook

from hmsactd.conformance.called import DEFERRED, Answer, Endpoint
from hmsactd.conformance.request import Request, signed
from hmsactd.conformance.steps import LARGE_BYTES, ODD
from hmsactd.conformance.unmet import NotApplicable, Unmet, expect
from hmsactd.services.retryable import time_of

REFUSED: Final = (401, 403)
TOO_OLD: Final = timedelta(hours=1)
FOREIGN: Final = Webhook("whsec_" + "Zm9yZWlnbiB0byBldmVyeWJvZHkgaGVyZQ==")
"""A secret that nobody has been told."""

TURNS_MAX: Final = 20
AGAIN_S: Final = 0.2


async def answers(endpoint: Endpoint) -> None:
    """`echo` gives back what it is given."""
    output = (await endpoint.ask(Request("echo", ODD))).output
    expect(output == ODD, "the input as the output", f"it was {str(output)[:300]}")


async def carries_much(endpoint: Endpoint) -> None:
    """An input and an output close to the bound for payloads."""
    much = "x" * LARGE_BYTES
    output = (await endpoint.ask(Request("echo", much))).output
    expect(output == much, f"{LARGE_BYTES:,} letters x as the output", f"it was {str(output)[:60]}…")


async def skips_what_it_does_not_know(endpoint: Endpoint) -> None:
    """Members of a later version change nothing."""
    request = Request("echo", ODD, further={"later": {"than": ["this"]}, "priority": 7})
    output = (await endpoint.ask(request)).output
    expect(output == ODD, "the same as without unknown members", f"it was {str(output)[:300]}")


async def fails_for_now(endpoint: Endpoint) -> None:
    """A failure that may be tried again, and the next attempt."""
    request = Request("fail", {"until": 2, "code": "TRY_LATER", "message": "not yet"})
    failed = await endpoint.ask(request)
    expected = "a status that is tried again (408, 425, 429, or 5xx but 501 and 505)"
    expect(not failed.is_done and failed.status != DEFERRED and not failed.is_permanent, expected, f"it was {failed}")
    _expect_problem(failed, "TRY_LATER")
    output = (await endpoint.ask(request.again(attempt=2))).output
    expect(output == {"attempt": 2}, 'the output {"attempt": 2}', f"it was {output}")


async def fails_for_good(endpoint: Endpoint) -> None:
    """A failure that is permanent."""
    failed = await endpoint.ask(Request("fail", {"permanent": True, "code": "NO_USE", "message": "never"}))
    expect(failed.is_permanent, "a status that is not tried again (4xx but 408, 425 and 429)", f"it was {failed}")
    _expect_problem(failed, "NO_USE")


async def knows_its_steps(endpoint: Endpoint) -> None:
    """A step that it doesn't do fails for good."""
    failed = await endpoint.ask(Request("no_such_step"))
    expect(failed.is_permanent, "a failure for good of a step that it does not do", f"the answer was {failed}")


async def refuses_what_is_no_call(endpoint: Endpoint) -> None:
    """A body that is not JSON fails for good, and harms nothing."""
    request, body = Request("echo"), b'{"step": "ec'
    signature = {} if endpoint.secret is None else signed(request.key, body, endpoint.secret)
    failed = await endpoint.send(body, request.headers() | signature)
    expect(400 <= failed.status < 500, "400 for a body that is not JSON", f"the answer was {failed}")


async def does_once_what_has_one_key(endpoint: Endpoint) -> None:
    """The same request again gets the same answer; another key gets another."""
    request = Request("slow", {"seconds": 0})
    first, second = (await endpoint.ask(request)).output, (await endpoint.ask(request.again())).output
    expect(first == second, f"the answer of the first time, {first}", f"the second time it was {second}")
    other = (await endpoint.ask(Request("slow", {"seconds": 0}))).output
    expect(other != first, "another run for another key", "it was the same answer")


async def does_once_what_comes_twice_at_a_time(endpoint: Endpoint) -> None:
    """The same request while the first is being worked on: one run, whoever waits for it."""
    request = Request("slow", {"seconds": 1})
    found: list[Answer | Unmet] = []

    async def ask() -> None:
        try:
            found.append(await _asked_until_done(endpoint, request))
        except Unmet as unmet:
            # Told below: from here it would come in a group.
            found.append(unmet)

    async with anyio.create_task_group() as tasks:
        for number in (1, 2):
            tasks.start_soon(ask, name=f"request {number}")
    for failure in found:
        if isinstance(failure, Unmet):
            raise failure
    outputs = [answer.output for answer in found if isinstance(answer, Answer)]
    expect(outputs[0] == outputs[1], "one run for two requests with one key at a time", f"they were {outputs}")


async def goes_on_where_it_failed(endpoint: Endpoint) -> None:
    """What was done for a key before the attempt failed is not done again by the next."""
    request = Request("once", {"until": 2})
    failed = await endpoint.ask(request)
    receipt = failed.problem.get("detail")
    expect(bool(receipt), "a failure as application/problem+json with the receipt in `detail`", f"it was {failed}")
    output = (await endpoint.ask(request.again(attempt=2))).output
    expect(output == {"receipt": receipt}, f"the receipt of attempt 1, {receipt!r}", f"attempt 2 has {output}")


async def defers(endpoint: Endpoint) -> None:
    """`later` is answered 202; by when it will be completed is said in a way that can be read, if it is said."""
    answer = await endpoint.ask(Request("later"))
    if answer.is_permanent:
        raise NotApplicable("the endpoint does no step `later`: it defers nothing")
    expect(answer.status == DEFERRED, "202 for a step that is completed later", f"it was {answer}")
    is_readable = answer.until is None or time_of(answer.until) is not None
    expect(is_readable, "no `until` with the 202, or a time with its zone (RFC 3339)", f"it was {answer.until!r}")


async def refuses_a_foreign_signature(endpoint: Endpoint) -> None:
    """A signature with another secret, or over another body."""
    _needs_secret(endpoint)
    await _is_refused(endpoint, "signed with another secret", lambda key, body: signed(key, body, FOREIGN))
    await _is_refused(
        endpoint, "signed for another body", lambda key, body: signed(key, body + b" ", _needs_secret(endpoint))
    )


async def refuses_what_is_not_signed(endpoint: Endpoint) -> None:
    """No signature at all."""
    _needs_secret(endpoint)
    await _is_refused(endpoint, "not signed", lambda key, body: {})


async def refuses_what_is_old(endpoint: Endpoint) -> None:
    """A good signature of an hour ago: somebody sends again what they have overheard."""
    secret, then = _needs_secret(endpoint), datetime.now(UTC) - TOO_OLD
    await _is_refused(endpoint, "signed an hour ago", lambda key, body: signed(key, body, secret, then))


async def takes_one_good_signature_of_two(endpoint: Endpoint) -> None:
    """While a secret is changed there are two signatures."""
    secret, request = _needs_secret(endpoint), Request("echo", ODD)
    body = request.body(endpoint.svc)
    good, foreign = signed(request.key, body, secret), signed(request.key, body, FOREIGN)
    both = f"{foreign['webhook-signature']} {good['webhook-signature']}"
    answer = await endpoint.send(body, request.headers() | good | {"webhook-signature": both})
    expect(answer.is_done, "a request accepted of whose two signatures one is good", f"it was {answer}")


async def _asked_until_done(endpoint: Endpoint, request: Request) -> Answer:
    """Whoever comes second may be asked to come again."""
    answer = await endpoint.ask(request)
    for _ in range(TURNS_MAX):
        if answer.is_done:
            return answer
        await anyio.sleep(AGAIN_S)
        answer = await endpoint.ask(request)
    raise Unmet("an answer for both of two requests with one key", f"it was {answer}")


async def _is_refused(endpoint: Endpoint, how: str, sign: Callable[[str, bytes], dict[str, str]]) -> None:
    request = Request("slow", {"seconds": 0})
    body = request.body(endpoint.svc)
    answer = await endpoint.send(body, request.headers() | sign(request.key, body))
    expect(answer.status in REFUSED, f"401 for a request that is {how}", f"it was {answer}")
    # Whoever forges a request must not be able to spoil the key for the true one.
    true = await endpoint.ask(request)
    expect(true.is_done, f"the true request done after one that is {how}", f"it was {true}")


def _needs_secret(endpoint: Endpoint) -> Webhook:
    if endpoint.secret is None:
        raise NotApplicable("no secret was given: say --secret, or set HMSACT_CONFORMANCE_SECRET")
    return endpoint.secret


def _expect_problem(failed: Answer, code: str) -> None:
    if failed.problem:
        found: Any = failed.problem.get("code")
        expect(found == code, f"the code {code} in the problem", f"it was {found!r}")
