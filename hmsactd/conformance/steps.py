"""Scenarios about what a worker does with calls: it does them, each as its step says, as many at a time as it takes."""

from __future__ import annotations

import json
from typing import Any, Final

import anyio
from hmsact.v1 import worker_pb2 as pb

from hmsactd.conformance.meddling import GiveTwice, SpeakStrangely
from hmsactd.conformance.stage import Stage
from hmsactd.conformance.unmet import NotApplicable, Unmet, expect

STEPS: Final = ("echo", "slow", "fail", "once")
"""The steps of a test build: see docs/implementing.md, Conformance."""

ODD: Final = {"text": 'Grüße ✋ "quoted"\n', "number": 12.5, "whole": 2**53 - 1, "list": [None, True, {}], "": []}
LARGE_BYTES: Final = 250_000
AT_ONCE_MAX: Final = 16
BEAT_LIMIT_S: Final = 2
BEATING_S: Final = 5


async def says_hello(stage: Stage) -> None:
    """The first thing it says names the service and every step of the test build."""
    first = next((line.said for line in stage.transcript.lines if isinstance(line.said, pb.WorkRequest)), None)
    expect(
        first is not None and first.HasField("hello"),
        "a hello as the first message of a connection",
        "the first message was another",
    )
    hello = await stage.hello(0)
    await stage.welcome()
    missing = [step for step in STEPS if step not in hello.steps]
    expect(not missing, f"the steps {', '.join(STEPS)}", f"the hello does not name {', '.join(missing)}")


async def does_a_call(stage: Stage) -> None:
    """`echo` gives back what it is given."""
    operation_id = await stage.start("echo", ODD)
    output = await _output(stage, operation_id)
    expect(output == ODD, f"{_text(ODD)} as the output", f"it was {_text(output)}")
    await stage.ended(operation_id, "completed")


async def carries_much(stage: Stage) -> None:
    """An input and an output close to the bound for payloads."""
    much = "x" * LARGE_BYTES
    operation_id = await stage.start("echo", much)
    output = await _output(stage, operation_id)
    expect(output == much, f"{LARGE_BYTES:,} letters x as the output", f"it was {_text(output)[:60]}…")


async def fails_for_now(stage: Stage) -> None:
    """A failure that may be tried again is, under a new attempt."""
    operation_id = await stage.start("fail", {"until": 2, "code": "TRY_LATER", "message": "not yet"})
    failed = _failed(await stage.report(operation_id, 1))
    expect(not failed.permanent, "a failure that may be tried again (permanent is false)", "it was permanent")
    _expect_words(failed, "TRY_LATER", "not yet")
    output = await _output(stage, operation_id, attempt=2)
    expect(output == {"attempt": 2}, 'the output {"attempt": 2}: the call says which attempt it is', f"it was {output}")
    await stage.ended(operation_id, "completed")


async def fails_for_good(stage: Stage) -> None:
    """A failure that is permanent is not tried again."""
    operation_id = await stage.start("fail", {"permanent": True, "code": "NO_USE", "message": "never"})
    failed = _failed(await stage.report(operation_id, 1))
    expect(failed.permanent, "a permanent failure", "permanent was false")
    _expect_words(failed, "NO_USE", "never")
    await stage.ended(operation_id, "failed")


async def does_once_what_has_one_key(stage: Stage) -> None:
    """What was done for an idempotency key is not done again by the next attempt."""
    operation_id = await stage.start("once", {"until": 2})
    receipt = _failed(await stage.report(operation_id, 1)).message
    expect(bool(receipt), "a failure whose message is the receipt of what was done", "its message was empty")
    output = await _output(stage, operation_id, attempt=2)
    again = output.get("receipt") if isinstance(output, dict) else output
    expect(again == receipt, f"the receipt of attempt 1, {receipt!r}: both have one key", f"attempt 2 has {again!r}")
    other = await _output(stage, await stage.start("once", {}))
    expect(other != output, "another receipt for another operation's key", "it was the same one")


async def works_at_a_time(stage: Stage) -> None:
    """As many calls as `max_in_flight` says are done side by side."""
    hello = stage.hellos()[-1]
    at_once = min(hello.max_in_flight, AT_ONCE_MAX)
    if at_once < 2:
        raise NotApplicable("the worker takes one call at a time")
    operations = [await stage.start("slow", {"seconds": 1}) for _ in range(at_once)]
    # One after the other they take a second each.
    within_s = (at_once + 1) / 2 + 1
    done = 0
    with anyio.move_on_after(within_s):
        for operation_id in operations:
            await stage.report(operation_id, within_s=within_s * 2)
            done += 1
    expect(
        done == at_once,
        f"{at_once} calls that take 1 s each, all done within {within_s:g} s: max_in_flight is {hello.max_in_flight}",
        f"only {done} were",
    )


async def beats(stage: Stage) -> None:
    """A call with a heartbeat limit is beaten for while it is worked on."""
    operation_id = await stage.start("slow", {"seconds": BEATING_S}, heartbeat=f"{BEAT_LIMIT_S}s")
    call = await stage.call(operation_id)
    expected = f"a beat at least every {BEAT_LIMIT_S} s for the {BEATING_S} s that the call takes"

    def pick(line: Any) -> pb.Withdrawn | pb.Report | None:
        if isinstance(line.said, pb.WorkResponse):
            return next((one for one in line.said.withdrawn if one.attempt == call.attempt), None)
        reports = line.said.reports if isinstance(line.said, pb.WorkRequest) else ()
        return next((report for report in reports if report.attempt == call.attempt), None)

    found = await stage.transcript.find(pick, expected, BEATING_S + stage.patience_s)
    if isinstance(found, pb.Withdrawn):
        raise Unmet(expected, f"the daemon gave it up: {found.code}")
    await stage.ended(operation_id, "completed")


async def takes_a_call_once(stage: Stage) -> None:
    """A call that is given again while it is in hand is not done twice."""
    operation_id = await stage.start("slow", {"seconds": 1}, GiveTwice)
    first = await stage.report(operation_id)
    # Whatever else it made of the second call comes before the next one is done.
    await _output(stage, await stage.start("slow", {"seconds": 1.5}))
    runs = {report.done.output for report in stage.reports(operation_id)}
    expect(
        len(runs) == 1 and first.HasField("done"),
        "one run of the call, which was given twice",
        f"it was run {len(runs)} times",
    )


async def skips_what_it_does_not_know(stage: Stage) -> None:
    """Fields and messages of a later version change nothing."""
    mark = stage.transcript.mark
    stage.relay.meddling = SpeakStrangely()
    stage.relay.cut()
    await stage.hello(mark)
    operation_id = await stage.start("echo", ODD)
    output = await _output(stage, operation_id)
    expect(output == ODD, "the same as without unknown fields", f"the output was {_text(output)}")
    await stage.ended(operation_id, "completed")


async def _output(stage: Stage, operation_id: str, attempt: int = 1) -> Any:
    report = await stage.report(operation_id, attempt)
    if not report.HasField("done"):
        raise Unmet(f"attempt {attempt} to be done", f"it failed: {report.failed.code} {report.failed.message}")
    text = report.done.output or b"null"
    try:
        return json.loads(text)
    except ValueError:
        raise Unmet("an output that is a JSON text", f"it was {text[:60]!r}") from None


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)[:300]


def _failed(report: pb.Report) -> pb.Failed:
    expect(report.HasField("failed"), f"attempt {report.attempt.attempt} to fail", "it was reported done")
    return report.failed


def _expect_words(failed: pb.Failed, code: str, message: str) -> None:
    expect(failed.code == code, f"the code {code}", f"it was {failed.code!r}")
    expect(failed.message == message, f"the message {message!r}", f"it was {failed.message!r}")
