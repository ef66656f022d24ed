"""Scenarios about what is lost: verdicts, connections, the daemon, the call itself, and in the end the worker."""

from __future__ import annotations

import asyncio
from typing import Final

from hmsact.v1 import worker_pb2 as pb

from hmsactd.conformance.meddling import AskAgain, LoseReport, LoseVerdict
from hmsactd.conformance.stage import Stage
from hmsactd.conformance.transcript import Line
from hmsactd.conformance.unmet import NotApplicable, expect

LONG_S: Final = 60
"""Longer than anybody waits: a call of this length ends because it is told to."""

RESTART_S: Final = 3
"""A call of this length is in hand while the daemon restarts, and done when it is back."""


async def keeps_what_has_no_verdict(stage: Stage) -> None:
    """A report that was lost with its connection is sent again over the next, and the work is not done again."""
    mark = stage.transcript.mark
    operation_id = await stage.start("slow", {"seconds": 0}, LoseReport)
    lost = await stage.report(operation_id)
    await _comes_back(stage, operation_id, mark)
    await _said_again(stage, lost, "the report again over the next connection, since there was no verdict on it")
    await stage.ended(operation_id, "completed")


async def says_it_again_when_asked(stage: Stage) -> None:
    """The verdict AGAIN asks for the report once more."""
    operation_id = await stage.start("slow", {"seconds": 0}, AskAgain)
    first = await stage.report(operation_id)
    await _said_again(stage, first, "the report again, after the verdict AGAIN")
    await stage.ended(operation_id, "completed")


async def takes_stale_quietly(stage: Stage) -> None:
    """A report that is on the record already is stale: the worker forgets it, and goes on."""
    mark = stage.transcript.mark
    operation_id = await stage.start("slow", {"seconds": 0}, LoseVerdict)
    await stage.report(operation_id)
    await _comes_back(stage, operation_id, mark)
    await stage.ended(operation_id, "completed")
    await _is_well(stage)
    mark = stage.transcript.mark
    stage.relay.cut()
    hello = await stage.hello(mark)
    held = [attempt for attempt in hello.in_hand if attempt.operation_id == operation_id]
    expect(not held, "a report that was judged stale to be forgotten", "the next hello still has it in hand")
    await _is_well(stage)


async def stops_when_nobody_waits(stage: Stage) -> None:
    """A call that is withdrawn is given up and reported, so that its place is free."""
    operation_id = await stage.start("slow", {"seconds": LONG_S})
    await stage.call(operation_id)
    await stage.cancel(operation_id)
    expected = "the call given up, and a report of it, soon after it was withdrawn"
    await stage.report(operation_id, expected=expected)
    await _is_well(stage)


async def gives_up_what_is_gone(stage: Stage) -> None:
    """Away for longer than the grace, it is told what is no longer its own, stops that, and takes the next attempt."""
    operation_id = await stage.start("slow", {"seconds": LONG_S})
    await stage.call(operation_id)
    mark = stage.transcript.mark
    await stage.relay.down()
    await asyncio.sleep(stage.grace_s + 1)
    await stage.relay.up(stage.listen)
    hello = await stage.hello(mark)
    _expect_in_hand(hello, operation_id)
    welcome = await stage.welcome(mark)
    expect(bool(welcome.gone), "the daemon to take the call away", "it still is the worker's")
    await stage.report(
        operation_id, 1, mark, expected="the call given up, and a report of it, since Welcome.gone names it"
    )
    await stage.call(operation_id, 2)


async def outlives_a_drain(stage: Stage) -> None:
    """The daemon says that it goes down, and does; the call in hand is done once, and reported to the next daemon."""
    await _outlives_a_restart(stage, in_order=True)


async def outlives_a_crash(stage: Stage) -> None:
    """The daemon is gone without a word, and comes back."""
    await _outlives_a_restart(stage, in_order=False)


async def leaves_in_order(stage: Stage) -> None:
    """Told to end by SIGTERM, it says that it leaves, finishes what it has, reports it, and exits with 0."""
    if stage.agency is None:
        raise NotApplicable("the worker was not started by this command: give its command line after --")
    operation_id = await stage.start("slow", {"seconds": 2})
    await stage.call(operation_id)
    mark = stage.transcript.mark
    stage.agency.terminate()

    def pick(line: Line) -> bool | None:
        return True if isinstance(line.said, pb.WorkRequest) and line.said.leaving else None

    await stage.transcript.find(pick, "a message that says `leaving`, after SIGTERM", stage.patience_s, mark)
    report = await stage.report(operation_id, expected="what was in hand at SIGTERM to be finished and reported")
    expect(report.HasField("done"), "what was in hand at SIGTERM to be done", f"it failed: {report.failed.code}")
    code = await stage.agency.ended(stage.patience_s)
    expect(code == 0, "exit code 0 after that", "it did not end" if code is None else f"exit code {code}")
    await stage.ended(operation_id, "completed")


async def _outlives_a_restart(stage: Stage, in_order: bool) -> None:
    operation_id = await stage.start("slow", {"seconds": RESTART_S})
    await stage.call(operation_id)
    mark = stage.transcript.mark
    await stage.restart(in_order)
    await _comes_back(stage, operation_id, mark)
    await stage.report(operation_id, after=mark, within_s=RESTART_S + stage.patience_s)
    operation = await stage.ended(operation_id, "completed")
    attempt = operation.items[0].step.attempt
    expect(attempt == 1, "the call that was in hand to be the one that counts", f"attempt {attempt} was needed")
    _expect_one_run(stage.reports(operation_id))


async def _said_again(stage: Stage, first: pb.Report, expected: str) -> None:
    """The same report once more, of the same run."""

    def pick(line: Line) -> pb.Report | None:
        reports = line.said.reports if isinstance(line.said, pb.WorkRequest) else ()
        return next((one for one in reports if one.attempt == first.attempt and one is not first), None)

    _expect_one_run([first, await stage.transcript.find(pick, expected, stage.patience_s)])


async def _comes_back(stage: Stage, operation_id: str, mark: int) -> None:
    """It connects anew, shows its ticket, and names what it has in hand."""
    ticket = stage.tickets(before=mark)[-1]
    hello = await stage.hello(mark)
    expect(
        hello.session == ticket,
        "the ticket of its session in the hello (Welcome.session)",
        "the hello has another" if hello.session else "the hello has none",
    )
    _expect_in_hand(hello, operation_id)
    await stage.welcome(mark)


async def _is_well(stage: Stage) -> None:
    """It still does what it is given."""
    operation_id = await stage.start("echo", "well?")
    await stage.report(operation_id, expected="a worker that goes on working")


def _expect_in_hand(hello: pb.Hello, operation_id: str) -> None:
    has_it = any(attempt.operation_id == operation_id for attempt in hello.in_hand)
    happened = f"it names {len(hello.in_hand)} others" if hello.in_hand else "in_hand is empty"
    expect(has_it, "the call it has in hand to be named in the hello (in_hand)", happened)


def _expect_one_run(reports: list[pb.Report]) -> None:
    for report in reports:
        expect(report.HasField("done"), "the call to be done", f"it failed: {report.failed.code}")
    runs = {report.done.output for report in reports}
    expect(len(runs) == 1, "one run of the call, whose report is kept", f"{len(runs)} runs, each with a report")
