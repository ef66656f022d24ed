"""`JobService`: one thing done to many operations."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Any

from grpc import aio
from hmsact.v1 import job_pb2 as pb
from hmsact.v1 import job_pb2_grpc, operation_pb2

from hmsactd.errors import InvalidArgument, Unavailable
from hmsactd.jobs.job import STATES, Action, JobState, Words, applicable, principal_of
from hmsactd.jobs.jobs import Asked
from hmsactd.jobs.run import Standing
from hmsactd.jobs.turn import Outcome
from hmsactd.rpc import convert, cursor, where
from hmsactd.rpc.caller import caller
from hmsactd.rpc.desk import WHOLE_ID, Checked, Desk, check, fitting, request_key
from hmsactd.rpc.patience import Patience
from hmsactd.rpc.streams import Streams
from hmsactd.rpc.times import timestamp
from hmsactd.store.job import ResultRow
from hmsactd.store.where import Where

Context = aio.ServicerContext[Any, Any]

JOB_ID = re.compile(r"job_[0-9a-z]{26}")

FAULTS_TOLD_MAX = 100
"""Ids that are told to be none. A status has room for fewer."""

ACTIONS = {action.value: pb.JobAction.Value(f"JOB_ACTION_{action.name}") for action in Action}
STANDINGS = {state.value: pb.JobState.Value(f"JOB_STATE_{state.name}") for state in JobState}
OUTCOMES = {outcome.value: pb.JobOutcome.Value(f"JOB_OUTCOME_{outcome.name}") for outcome in Outcome}


class JobServicer(job_pb2_grpc.JobServiceServicer):
    """Begins jobs, shows how they stand and ends them."""

    def __init__(self, desk: Desk, patience: Patience, streams: Streams) -> None:
        self._desk = desk
        self._patience = patience
        self._streams = streams

    # -- begin ---------------------------------------------------------------------------------------------------------

    async def PauseOperations(self, request: pb.PauseOperationsRequest, context: Context) -> pb.BeginJobResponse:
        checked = check(self._desk, request)
        checked.choice("clock", request.clock, operation_pb2.PauseClock)
        stop_clock = request.clock == operation_pb2.PAUSE_CLOCK_STOP
        if stop_clock:
            checked.demand("reason", request.reason, "is demanded for a pause that stops the clock")
        return await self._begin(Action.PAUSE, request, checked, stop_clock=stop_clock)

    async def ResumeOperations(self, request: pb.ResumeOperationsRequest, context: Context) -> pb.BeginJobResponse:
        return await self._begin(Action.RESUME, request, check(self._desk, request))

    async def CancelOperations(self, request: pb.CancelOperationsRequest, context: Context) -> pb.BeginJobResponse:
        return await self._begin(Action.CANCEL, request, check(self._desk, request))

    async def RetryOperations(self, request: pb.RetryOperationsRequest, context: Context) -> pb.BeginJobResponse:
        return await self._begin(Action.RETRY, request, check(self._desk, request))

    async def _begin(
        self, action: Action, request: Any, checked: Checked, *, stop_clock: bool = False
    ) -> pb.BeginJobResponse:
        wanted = self._selected(action, request.selection, checked)
        checked.words("reason", request.reason)
        checked.done()
        key = request_key(request, action.value, checked.namespace)
        asked = Asked(
            checked.namespace,
            caller(),
            action,
            Words(wanted or Where(), request.selection.filter, request.reason, stop_clock),
            tuple(dict.fromkeys(request.selection.operation_ids)),
            request.selection.count_max if request.selection.HasField("count_max") else None,
            request.request_id,
            key.digest if key is not None else "",
        )
        if request.validate_only:
            counted = await self._desk.jobs.count(asked)
            return pb.BeginJobResponse(
                job=pb.Job(
                    namespace=checked.namespace,
                    action=ACTIONS[action],
                    filter=request.selection.filter,
                    reason=request.reason,
                    started_by=convert.principal(caller()),
                    expected_count=counted.count,
                    is_expected_at_least=not counted.is_exact,
                    listed_count=len(asked.operations),
                    is_all_listed=bool(asked.operations),
                )
            )
        standing, is_repeated = await self._desk.jobs.begin(asked)
        return pb.BeginJobResponse(job=self._shown(standing), repeated_request=is_repeated)

    def _selected(self, action: Action, selection: pb.JobSelection, checked: Checked) -> Where | None:
        """The filter of a job; None if its operations are named, or if there is a fault."""
        said = [bool(selection.filter), bool(selection.operation_ids), selection.everything]
        if sum(said) != 1:
            sentence = "says which operations in one way: filter, operation_ids or everything"
            checked.fault("selection", sentence, "REQUIRED" if not any(said) else "AMBIGUOUS")
        if selection.HasField("count_max") and selection.count_max < 0:
            checked.fault("selection.count_max", "is negative", "OUT_OF_RANGE")
        self._check_ids(selection, checked)
        if selection.operation_ids:
            return None
        try:
            wanted = where.parse(selection.filter)
        except InvalidArgument as invalid:
            for fault in invalid.violations:
                checked.fault(f"selection.{fault.field}", fault.sentence, fault.reason)
            return None
        self._desk.check_words("selection.filter", checked, wanted)
        left = applicable(action, wanted)
        if left is None:
            sentence = f"leaves nothing to {action.value}: that is for what is {', '.join(STATES[action])}"
            stalled = ", with a stalled step" if action is Action.RETRY else ""
            checked.fault("selection.filter", sentence + stalled, "NOTHING_LEFT")
        return left

    def _check_ids(self, selection: pb.JobSelection, checked: Checked) -> None:
        most = self._desk.bounds.job_operations_max
        if len(selection.operation_ids) > most:
            sentence = f"has {len(selection.operation_ids)} members; at most {most} are allowed: take a filter"
            checked.fault("selection.operation_ids", sentence, "TOO_MANY")
        wrong = [at for at, said in enumerate(selection.operation_ids[:most]) if not WHOLE_ID.fullmatch(said)]
        for at in wrong[:FAULTS_TOLD_MAX]:
            checked.fault(f"selection.operation_ids[{at}]", "is not the whole id of an operation", "BAD_OPERATION_ID")

    # -- look ----------------------------------------------------------------------------------------------------------

    async def GetJob(self, request: pb.GetJobRequest, context: Context) -> pb.GetJobResponse:
        checked = self._checked(request)
        standing = await self._desk.jobs.look(checked.namespace, request.job_id)
        return pb.GetJobResponse(job=self._shown(standing))

    async def ListJobs(self, request: pb.ListJobsRequest, context: Context) -> pb.ListJobsResponse:
        checked = check(self._desk, request)
        query = ("jobs", checked.namespace)
        before = checked.gather(lambda: cursor.decode("page_token", request.page_token, query, (int, str)))
        checked.done()
        size = self._desk.page_size(request.page_size)
        last = (int(before[0]), str(before[1])) if before is not None else None
        found = await self._desk.jobs.page(checked.namespace, last, size + 1)
        page = fitting(map(self._shown, found[:size]))
        end = found[len(page) - 1].row if len(found) > len(page) else None
        token = cursor.encode(query, [end.started_at, end.job]) if end is not None else ""
        return pb.ListJobsResponse(jobs=page, next_page_token=token)

    async def ListJobResults(self, request: pb.ListJobResultsRequest, context: Context) -> pb.ListJobResultsResponse:
        checked = self._checked(request, is_done=False)
        checked.choice("outcome", request.outcome, pb.JobOutcome)
        query = ("job results", checked.namespace, request.job_id, str(request.outcome))
        after = checked.gather(lambda: cursor.decode("page_token", request.page_token, query, (int,)))
        checked.done()
        # Its results may be empty for good reasons; that there is such a job is found out here.
        await self._desk.jobs.look(checked.namespace, request.job_id)
        size = self._desk.page_size(request.page_size)
        found = await self._desk.store.job_results(
            checked.namespace,
            request.job_id,
            after=int(after[0]) if after is not None else 0,
            outcome=next((word for word, number in OUTCOMES.items() if number == request.outcome), None),
            limit=size + 1,
        )
        page = fitting([await self._result(row) for row in found[:size]])
        token = cursor.encode(query, [page[-1].number]) if len(found) > len(page) else ""
        return pb.ListJobResultsResponse(results=page, next_page_token=token)

    async def WatchJob(self, request: pb.WatchJobRequest, context: Context) -> AsyncIterator[pb.WatchJobResponse]:
        checked = self._checked(request)
        jobs, heartbeat_s = self._desk.jobs, self._desk.settings.streams.heartbeat.seconds
        with self._streams.one_more(caller()), jobs.watched(checked.namespace, request.job_id) as changes:
            while True:
                standing = await jobs.look(checked.namespace, request.job_id)
                yield pb.WatchJobResponse(job=self._shown(standing))
                if standing.row.ended_at is not None:
                    return
                await self._patience.news(changes, heartbeat_s)
                if self._patience.is_stopping:
                    raise Unavailable("SHUTTING_DOWN", "the daemon is shutting down; watch again")

    # -- end -----------------------------------------------------------------------------------------------------------

    async def CancelJob(self, request: pb.CancelJobRequest, context: Context) -> pb.CancelJobResponse:
        checked = self._checked(request, is_done=False)
        checked.words("reason", request.reason)
        checked.done()
        standing = await self._desk.jobs.cancel(checked.namespace, request.job_id, caller(), request.reason)
        return pb.CancelJobResponse(job=self._shown(standing))

    # -- messages ------------------------------------------------------------------------------------------------------

    def _checked(self, request: Any, *, is_done: bool = True) -> Checked:
        checked = check(self._desk, request)
        if not JOB_ID.fullmatch(request.job_id):
            sentence = "is not the whole id of a job" if request.job_id else "says no job"
            checked.fault("job_id", sentence, "BAD_JOB_ID")
        if is_done:
            checked.done()
        return checked

    def _shown(self, standing: Standing) -> pb.Job:
        row = standing.row
        may_read = self._desk.may_read_payloads
        words = Words.of(row, self._desk.timelines) if may_read else Words()
        return pb.Job(
            namespace=row.namespace,
            id=row.job,
            action=ACTIONS[row.action],
            state=STANDINGS[row.state],
            filter=words.filter,
            reason=words.reason,
            started_by=convert.principal(principal_of(row)),
            start_time=timestamp(row.started_at),
            update_time=timestamp(row.updated_at),
            end_time=timestamp(row.ended_at),
            expected_count=row.expected,
            is_expected_at_least=not row.is_exact,
            listed_count=row.listed,
            is_all_listed=row.is_listed,
            done_count=row.done,
            skipped_count=row.skipped,
            refused_count=row.refused,
            operations_per_second=standing.per_second,
            held_up_by=standing.held_up_by,
            ended_by=row.ended_by,
            end_reason=words.end_reason,
            fault=row.fault,
        )

    async def _result(self, row: ResultRow) -> pb.JobResult:
        result = pb.JobResult(
            number=row.number,
            operation_id=row.operation,
            outcome=OUTCOMES[row.outcome],
            time=timestamp(row.at),
            reason=row.reason,
            message=row.sentence,
        )
        if row.sequence:
            evidence = await self._desk.timelines.receipt(row.namespace, row.operation, row.sequence)
            result.recorded.CopyFrom(
                operation_pb2.Recorded(
                    state=convert.operation_state(row.state),
                    revision=row.revision,
                    sequence=row.sequence,
                    receipt=convert.receipt(evidence),
                )
            )
        return result
