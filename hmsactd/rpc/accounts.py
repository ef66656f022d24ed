"""`ExplainOperation`: reads a timeline page by page into a tale, and what was said of what the tale quotes."""

from __future__ import annotations

import json
import re
from datetime import tzinfo
from zoneinfo import ZoneInfo

from hmsact.v1 import account_pb2, timeline_pb2

from hmsactd.account.account import Account, Decision, Entry, Problem, Wait
from hmsactd.account.attended import Attended
from hmsactd.account.explain import explain
from hmsactd.account.spoken import Said, SpokenState
from hmsactd.account.tale import QUOTED_PAYLOADS, Tale
from hmsactd.core.operation import Operation, StepItem
from hmsactd.engine.dispatch import Line
from hmsactd.errors import InvalidArgument, NotFound, Violation
from hmsactd.rpc import convert
from hmsactd.rpc.desk import Desk, check
from hmsactd.rpc.times import timestamp
from hmsactd.timeline import codec

PAGE = 100
"""Events read at a time: the loop is free again after a few milliseconds of them."""

SAID_AT_A_TIME = 16
"""Events whose words are opened at a time."""

UTC = "UTC"

_ZONE = re.compile(r"[A-Za-z][A-Za-z0-9_+/-]{0,63}")

_WORDS_STATES = {
    SpokenState.NONE: account_pb2.WORDS_STATE_UNSPECIFIED,
    SpokenState.SHOWN: account_pb2.WORDS_STATE_SHOWN,
    SpokenState.ERASED: account_pb2.WORDS_STATE_ERASED,
    SpokenState.WITHHELD: account_pb2.WORDS_STATE_WITHHELD,
}


async def explained(desk: Desk, request: timeline_pb2.ExplainOperationRequest) -> timeline_pb2.ExplainOperationResponse:
    """The account of an operation, for this caller, now."""
    checked = check(desk, request)
    zone = checked.gather(lambda: _zone(request.time_zone))
    checked.done()
    assert zone is not None
    namespace = checked.namespace
    operation_id = await desk.resolve(namespace, request.operation_id)
    tale = await _tale(desk, namespace, operation_id)
    said = Said(await _texts(desk, namespace, operation_id, tale.quoted), desk.may_read_payloads)
    attended = _attended(desk, namespace, operation_id, tale.operation)
    now = desk.clock.now()
    account = explain(tale, said, now, zone, attended)
    message = _account(account, namespace, operation_id, tale.operation)
    message.MergeFrom(account_pb2.Account(time=timestamp(now), time_zone=request.time_zone or UTC))
    return timeline_pb2.ExplainOperationResponse(account=message)


def _zone(name: str) -> tzinfo:
    """The time zone of a name; raises `InvalidArgument`."""
    try:
        if _ZONE.fullmatch(name or UTC):
            return ZoneInfo(name or UTC)
    except (LookupError, ValueError, OSError):
        # A name that is only a part of names, such as "America", is a directory.
        pass
    sentence = 'is not the name of a time zone that is known here, such as "America/New_York"'
    raise InvalidArgument([Violation("time_zone", sentence, "TIME_ZONE_UNKNOWN")])


async def _tale(desk: Desk, namespace: str, operation_id: str) -> Tale:
    """Everything that is recorded by now, heard page by page; raises `NotFound`."""
    summary = await desk.store.summary(namespace, operation_id)
    if summary is None:
        raise NotFound("OPERATION_UNKNOWN", f"there is no operation {operation_id}")
    tale, after = Tale(), 0
    while after < summary.sequence:
        rows = await desk.timelines.records(
            namespace, operation_id, after=after, before=summary.sequence + 1, limit=PAGE
        )
        for row in rows:
            event = codec.decode(row.record)
            if event is not None:
                tale.hear(event, row.sequence)
        after = rows[-1].sequence
    return tale


async def _texts(desk: Desk, namespace: str, operation_id: str, sequences: list[int]) -> dict[tuple[int, str], str]:
    """What is quoted of these events, as plain text."""
    texts: dict[tuple[int, str], str] = {}
    for start in range(0, len(sequences), SAID_AT_A_TIME):
        said = await desk.said(namespace, operation_id, sequences[start : start + SAID_AT_A_TIME])
        texts |= {place: _text(content) for place, content in said.items() if place[1] in QUOTED_PAYLOADS}
    return texts


def _text(content: bytes) -> str:
    """A payload as it is read aloud: words as they are, labels as a list of them."""
    value = json.loads(content)
    if isinstance(value, dict):
        return ", ".join(f"{name}={value[name]}" for name in sorted(value))
    return str(value)


def _attended(desk: Desk, namespace: str, operation_id: str, operation: Operation) -> Attended:
    """Who looks after the current step: read at another moment than the record, and only as true as that."""
    item, engine = operation.current, desk.engine
    if not isinstance(item, StepItem):
        return Attended()
    line = Line(namespace, item.definition.svc, item.definition.name)
    has_heartbeat = item.definition.heartbeat_ms is not None
    heard_at = (
        engine.dispatch.heard_at(item.session, operation_id, item.instance, item.attempt) if item.session else None
    )
    return Attended(engine.dispatch.worker_count(line), heard_at if has_heartbeat else None)


# -- messages ----------------------------------------------------------------------------------------------------------


def _account(account: Account, namespace: str, operation_id: str, operation: Operation) -> account_pb2.Account:
    return account_pb2.Account(
        namespace=namespace,
        operation_id=operation_id,
        name=operation.flow.name,
        state=convert.operation_state(operation.state.value),
        headline=account.headline,
        entries=map(_entry, account.entries),
        wait=_wait(account.wait) if account.wait is not None else None,
        decisions=map(_decision, account.decisions),
        decisions_left_out=account.decisions_left_out,
        problems=map(_problem, account.problems),
        problems_left_out=account.problems_left_out,
        sequence=operation.sequence,
        due_time=timestamp(account.due_at),
    )


def _entry(entry: Entry) -> account_pb2.AccountEntry:
    return account_pb2.AccountEntry(
        sentence=entry.sentence,
        time=timestamp(entry.at),
        kind=entry.kind,
        name=entry.name,
        instance=entry.instance,
        sequences=entry.sequences,
        sequences_left_out=entry.sequences_left_out,
    )


def _wait(wait: Wait) -> account_pb2.AccountWait:
    return account_pb2.AccountWait(
        kind=wait.kind,
        who=wait.who,
        name=wait.name,
        instance=wait.instance,
        since_time=timestamp(wait.since),
        due_time=timestamp(wait.due_at),
        overdue_ms=wait.overdue_ms,
        attempt=wait.attempt,
        retry_time=timestamp(wait.retry_at),
        claimed_by=wait.claimed_by or "",
        assigned_to=wait.assigned_to or "",
        excluded=wait.excluded or "",
        workers=wait.workers,
        heard_time=timestamp(wait.heard_at),
        completion_due_time=timestamp(wait.completion_due_at),
        started_for=wait.started_for or "",
    )


def _decision(decision: Decision) -> account_pb2.AccountDecision:
    return account_pb2.AccountDecision(
        kind=decision.kind,
        name=decision.name,
        instance=decision.instance,
        principal=convert.principal(decision.by),
        role=decision.role,
        time=timestamp(decision.at),
        since_time=timestamp(decision.since),
        words=decision.words.text,
        words_state=_WORDS_STATES[decision.words.state],
        digest=decision.digest,
        unseen=decision.is_unseen,
        sequence=decision.sequence,
    )


def _problem(problem: Problem) -> account_pb2.AccountProblem:
    return account_pb2.AccountProblem(
        kind=problem.kind,
        name=problem.name,
        instance=problem.instance,
        due_time=timestamp(problem.due_at),
        noticed_time=timestamp(problem.at),
        late_ms=problem.late_ms,
        principal=convert.principal(problem.by),
        is_open=problem.is_open,
        sequence=problem.sequence,
    )
