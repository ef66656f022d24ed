"""Operations to write down: principals, a flow, an event of every kind, and timelines that hold them."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

from hmsactd.core import events as e
from hmsactd.core.events import ClockReading, Event
from hmsactd.core.principal import DAEMON, Principal, PrincipalKind
from hmsactd.definition.flow import CheckpointDefinition, Flow, OnExhausted, StepDefinition
from hmsactd.store.store import Store, Summary
from hmsactd.timeline.committer import Observe
from hmsactd.timeline.keys import Keys
from hmsactd.timeline.payloads import commit, commit_words
from hmsactd.timeline.timeline import Receipt, Timeline, Timelines

BEGAN = 1_790_942_096_123_456
SECOND = 1_000_000
PORTAL = Principal(PrincipalKind.SERVICE, "dev", "svc/Portal", method="dev")
IRS = Principal(PrincipalKind.SERVICE, "dev", "svc/IRS", method="dev")
JDAVIS = Principal(PrincipalKind.PERSON, "dev", "jdavis@fsa.gov", ("fsa.officer",), "dev")
CASEBOT = Principal(PrincipalKind.AGENT, "dev", "casebot", ("a", "b"), "dev", "dev:developer")
PORTAL_FOR_ROE = replace(PORTAL, on_behalf_of="https://idp.citizens.gov:8f14e45f")
CASEBOT_FOR_JDAVIS = replace(CASEBOT, on_behalf_of=JDAVIS.id)

FLOW = Flow(
    name="loan_forgiveness",
    items=(
        StepDefinition("validate_form", "FSA", None, 3, 2000, 60_000, None, None, OnExhausted.STALL, 900_000),
        StepDefinition("eligibility_check", "IRS", 120_000, 3, 2000, 60_000, 5000, 700, OnExhausted.FAIL, 900_000),
        CheckpointDefinition("human_review", "fsa.officer", None, "dev:jdavis@fsa.gov", 900_000),
    ),
    sla_ms=3_600_000,
    digest="5e" * 32,
)
NAMES: Mapping[int, str] = {number: item.name for number, item in enumerate(FLOW.items, 1)}
CLOCKS = (ClockReading(0, 3_600_000, 17), ClockReading(2, 120_000, 130_000))


def one_of_every_kind() -> list[Event]:
    """An event of every kind, twice where fields may be left out: as full and as empty as it can be."""
    at = iter(range(BEGAN, BEGAN + 1000 * SECOND, SECOND + 1))
    words = commit_words
    return [
        e.OperationStarted(next(at), PORTAL, FLOW, commit(b'{"applicant":"Jane Roe","amount":12.5}')),
        e.OperationStarted(
            next(at),
            CASEBOT,
            replace(FLOW, items=(), sla_ms=None),
            commit("null"),
            labels=commit(b'{"year":"2026"}'),
            key=words("case 17"),
            requested_by=words("Jane Roe"),
            reason=words("she called"),
        ),
        e.StepQueued(next(at), DAEMON, 2),
        e.StepStarted(next(at), IRS, 2, 1, "ses_1"),
        e.StepDone(next(at), IRS, 1, 1, commit(b"[1,2,3]")),
        e.StepFailed(next(at), IRS, 2, 1, "WORKER_ERROR", 3),
        e.StepFailed(next(at), IRS, 2, 2, "HTTP_502", 3, 1, BEGAN + 77 * SECOND, words("bad gateway: “502”"), CLOCKS),
        e.StepDeferred(next(at), IRS, 2, 3),
        e.StepDeferred(next(at), IRS, 2, 3, BEGAN + 9),
        e.StepDone(next(at), IRS, 2, 3, commit(b"{}"), e.VIA_COMPLETION),
        e.StepLost(next(at), DAEMON, 2, 3, 1),
        e.StepLost(next(at), DAEMON, 2, 3, 2, CLOCKS),
        e.StepStalled(next(at), DAEMON, 2, "RETRIES_EXHAUSTED"),
        e.StepRetried(next(at), JDAVIS, 2),
        e.StepRetried(next(at), JDAVIS, 2, words("the line is mended")),
        e.StepSkipped(next(at), JDAVIS, 2, words("done by hand")),
        e.StepReportIgnored(next(at), IRS, 2, 4, "OPERATION_ENDED"),
        e.StepReportIgnored(next(at), IRS, 2, 4, "", commit(b"{}"), words("x")),
        e.CheckpointPending(next(at), DAEMON, 3, "fsa.officer", "ab" * 32),
        e.CheckpointPending(next(at), DAEMON, 3, "fsa.officer", "ab" * 32, "dev:jdavis@fsa.gov"),
        e.CheckpointClaimed(next(at), JDAVIS, 3),
        e.CheckpointReleased(next(at), JDAVIS, 3),
        e.CheckpointAssigned(next(at), JDAVIS, 3, "dev:tlee@fsa.gov"),
        e.CheckpointAssigned(next(at), JDAVIS, 3, "dev:tlee@fsa.gov", words("on leave")),
        e.CheckpointApproved(next(at), JDAVIS, 3),
        e.CheckpointApproved(next(at), JDAVIS, 3, "ab" * 32, words("fine")),
        e.CheckpointRejected(next(at), JDAVIS, 3),
        e.CheckpointRejected(next(at), JDAVIS, 3, "ab" * 32, words("not fine")),
        e.DecisionRefused(next(at), CASEBOT, 3, "AGENT"),
        e.SlaAtRisk(next(at), DAEMON, 2, 120_000, BEGAN, 12),
        e.SlaBreach(next(at), DAEMON, 0, 120_000, BEGAN, 0),
        e.Unattended(next(at), DAEMON, 3, BEGAN + 1, 2),
        e.OperationPaused(next(at), JDAVIS, "run"),
        e.OperationPaused(next(at), JDAVIS, "stop", CLOCKS, words("appeal")),
        e.OperationResumed(next(at), JDAVIS),
        e.OperationResumed(next(at), JDAVIS, CLOCKS, words("decided")),
        e.OperationCancelled(next(at), JDAVIS, "running"),
        e.OperationCancelled(next(at), JDAVIS, "paused", words("withdrawn")),
        e.OperationCompleted(next(at), DAEMON),
        e.OperationRejected(next(at), DAEMON, 3),
        e.OperationFailed(next(at), DAEMON, 2, "RETRIES_EXHAUSTED"),
        e.OperationStarted(next(at), PORTAL_FOR_ROE, FLOW, commit(b"{}")),
        e.StepRetried(next(at), CASEBOT_FOR_JDAVIS, 2),
    ]


def summary(timeline: Timeline, events: Sequence[Event], **told: object) -> Summary:
    """The summary that stands after some events."""
    plain = Summary(
        timeline.namespace,
        timeline.operation,
        FLOW.name,
        FLOW.digest,
        "running",
        1,
        timeline.sequence + len(events),
        BEGAN,
        events[-1].at,
        started_by=PORTAL.id,
    )
    return replace(plain, **told)  # type: ignore[arg-type]


async def append(timeline: Timeline, *events: Event) -> Receipt:
    return await timeline.append(events, NAMES, summary(timeline, events))


def started(at: int = BEGAN, said: bytes = b'{"applicant":"Jane Roe"}') -> Event:
    return e.OperationStarted(at, PORTAL, FLOW, commit(said))


def step_started(at: int = BEGAN, attempt: int = 1) -> Event:
    return e.StepStarted(at, IRS, 1, attempt, "ses_1")


@asynccontextmanager
async def running(store: Store, keys: Keys, observe: Observe | None = None) -> AsyncIterator[Timelines]:
    """Timelines with their committer at work."""
    timelines = await Timelines.open(store, keys, observe)
    async with asyncio.TaskGroup() as group:
        group.create_task(timelines.run(), name="committer")
        try:
            yield timelines
        finally:
            await timelines.close()


async def exported(timelines: Timelines, operation: str, **told: object) -> bytes:
    parts = timelines.export("default", operation, BEGAN + 5000 * SECOND, **told)  # type: ignore[arg-type]
    return b"".join([part async for part in parts])
