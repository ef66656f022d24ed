"""Scenarios about a service that the daemon calls, over whatever: what it answers, and once for each key."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final

import anyio

from hmsactd.conformance.called import Answer, Asked
from hmsactd.conformance.request import Request
from hmsactd.conformance.steps import LARGE_BYTES, ODD
from hmsactd.conformance.unmet import NotApplicable, Unmet, expect
from hmsactd.services.retryable import time_of

TURNS_MAX: Final = 20
AGAIN_S: Final = 0.2
HANG_UP_S: Final = 0.3
"""After what time the daemon hangs up on a step that takes a second."""


async def answers(service: Asked) -> None:
    """`echo` gives back what it is given."""
    output = (await service.ask(Request("echo", ODD))).output
    expect(output == ODD, "the input as the output", f"it was {str(output)[:300]}")


async def carries_much(service: Asked) -> None:
    """An input and an output close to the bound for payloads."""
    much = "x" * LARGE_BYTES
    output = (await service.ask(Request("echo", much))).output
    expect(output == much, f"{LARGE_BYTES:,} letters x as the output", f"it was {str(output)[:60]}…")


async def skips_what_it_does_not_know(service: Asked) -> None:
    """Members of a later version change nothing."""
    request = Request("echo", ODD, further={"later": {"than": ["this"]}, "priority": 7})
    output = (await service.ask(request)).output
    expect(output == ODD, "the same as without unknown members", f"it was {str(output)[:300]}")


async def fails_for_now(service: Asked) -> None:
    """A failure that may be tried again, and the next attempt."""
    request = Request("fail", {"until": 2, "code": "TRY_LATER", "message": "not yet"})
    failed = await service.ask(request)
    is_retryable = not failed.is_done and not failed.is_deferred and not failed.is_permanent
    expect(is_retryable, service.manner.retryable, f"it was {failed}")
    _expect_code(failed, "TRY_LATER")
    output = (await service.ask(request.again(attempt=2))).output
    expect(output == {"attempt": 2}, 'the output {"attempt": 2}', f"it was {output}")


async def fails_for_good(service: Asked) -> None:
    """A failure that is permanent."""
    failed = await service.ask(Request("fail", {"permanent": True, "code": "NO_USE", "message": "never"}))
    expect(failed.is_permanent, service.manner.permanent, f"it was {failed}")
    _expect_code(failed, "NO_USE")


async def knows_its_steps(service: Asked) -> None:
    """A step that it doesn't do fails for good."""
    failed = await service.ask(Request("no_such_step"))
    expect(failed.is_permanent, "a failure for good of a step that it does not do", f"the answer was {failed}")


async def does_once_what_has_one_key(service: Asked) -> None:
    """The same request again gets the same answer; another key gets another."""
    request = Request("slow", {"seconds": 0})
    first, second = (await service.ask(request)).output, (await service.ask(request.again())).output
    expect(first == second, f"the answer of the first time, {first}", f"the second time it was {second}")
    other = (await service.ask(Request("slow", {"seconds": 0}))).output
    expect(other != first, "another run for another key", "it was the same answer")


async def does_once_what_comes_twice_at_a_time(service: Asked) -> None:
    """The same request while the first is being worked on: one run, whoever waits for it."""
    request = Request("slow", {"seconds": 1})
    found: list[Answer | Unmet] = []

    async def ask() -> None:
        try:
            found.append(await _asked_until_done(service, request))
        except Unmet as unmet:
            # Told below: from here it would come in a group.
            found.append(unmet)

    async with anyio.create_task_group() as tasks:
        for number in (1, 2):
            tasks.start_soon(ask, name=f"request {number}")
    for failure in found:
        if isinstance(failure, Unmet):
            raise failure
    outputs = [answer.output for answer in found if not isinstance(answer, Unmet)]
    expect(outputs[0] == outputs[1], "one run for two requests with one key at a time", f"they were {outputs}")


async def goes_on_where_it_failed(service: Asked) -> None:
    """What was done for a key before the attempt failed is not done again by the next."""
    request = Request("once", {"until": 2})
    failed = await service.ask(request)
    receipt = failed.message
    expect(bool(receipt), service.manner.message, f"it was {failed}")
    output = (await service.ask(request.again(attempt=2))).output
    expect(output == {"receipt": receipt}, f"the receipt of attempt 1, {receipt!r}", f"attempt 2 has {output}")


async def defers(service: Asked) -> None:
    """`later` is said to be completed later; by when, if it is said, in a way that can be read."""
    answer = await service.ask(Request("later"))
    if answer.is_permanent:
        raise NotApplicable("the service does no step `later`: it defers nothing")
    expect(answer.is_deferred, service.manner.deferred, f"it was {answer}")
    is_readable = answer.until is None or time_of(answer.until) is not None
    expect(
        is_readable, "no `until` with what is deferred, or a time with its zone (RFC 3339)", f"it was {answer.until!r}"
    )


async def goes_on_after_a_hang_up(service: Asked) -> None:
    """At a deadline the daemon hangs up on an attempt, and makes another with the same key."""
    request = Request("slow", {"seconds": 1})
    with suppress(TimeoutError):
        # Of asyncio and not of anyio, whose scopes do not know a cancellation again that has been through grpc.aio.
        async with asyncio.timeout(HANG_UP_S):
            await service.ask(request)
    again = request.again(attempt=2)
    first, second = (await _asked_until_done(service, again)).output, (await service.ask(again)).output
    expect(first == second, f"the answer of attempt 2, {first}, when it is asked again", f"it was {second}")


async def _asked_until_done(service: Asked, request: Request) -> Answer:
    """Whoever comes second may be asked to come again."""
    answer = await service.ask(request)
    for _ in range(TURNS_MAX):
        if answer.is_done:
            return answer
        await anyio.sleep(AGAIN_S)
        answer = await service.ask(request)
    raise Unmet("the step done for every request with its key, be it later", f"it was {answer}")


def _expect_code(failed: Answer, code: str) -> None:
    if failed.code is not None:
        expect(failed.code == code, f"the code {code} with the failure", f"it was {failed.code}")
