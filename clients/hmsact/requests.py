"""Requests, built once for both clients. Every one that changes something carries a request id."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Literal, TypeVar

from google.protobuf.duration_pb2 import Duration as DurationMessage

from hmsact import flow, json_text
from hmsact.choice import Choice
from hmsact.duration import Duration, milliseconds
from hmsact.inbox import Shown, digest_of
from hmsact.job import OUTCOMES, JobFacts, Outcome, job_id_of
from hmsact.operation import OperationFacts, id_of
from hmsact.selected import Selected, wanted_of
from hmsact.v1 import checkpoint_pb2, job_pb2, operation_pb2, system_pb2, timeline_pb2, worker_pb2
from hmsact.wanted import GroupBy, OrderBy, Wanted, filter_of

KeyPolicy = Literal["reject_open", "reject_any", "return_open", "allow"]
"""What becomes of a start whose business key another operation has: refuse while one with the key is open (the
default), refuse if any has it, return the open one, or start anew."""

Clock = Literal["run", "stop"]
"""What the clock of an operation does while it is paused."""

PAGE_SIZE = 200

_KEY_POLICIES: dict[str, operation_pb2.KeyPolicy.ValueType] = {
    "reject_open": operation_pb2.KEY_POLICY_REJECT_OPEN,
    "reject_any": operation_pb2.KEY_POLICY_REJECT_ANY,
    "return_open": operation_pb2.KEY_POLICY_RETURN_OPEN,
    "allow": operation_pb2.KEY_POLICY_ALLOW,
}
_CLOCKS: dict[str, operation_pb2.PauseClock.ValueType] = {
    "run": operation_pb2.PAUSE_CLOCK_RUN,
    "stop": operation_pb2.PAUSE_CLOCK_STOP,
}

_Many = TypeVar(
    "_Many",
    job_pb2.PauseOperationsRequest,
    job_pb2.ResumeOperationsRequest,
    job_pb2.CancelOperationsRequest,
    job_pb2.RetryOperationsRequest,
)


class Requests:
    """Builds the requests of one client, in its namespace."""

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace

    # -- operations

    def start(
        self,
        name: str | None,
        steps: flow.Steps,
        input: object,  # noqa: A002 - the word of the contract
        key: str | None,
        key_policy: KeyPolicy | None,
        labels: Mapping[str, str] | None,
        request_id: str | None,
        reason: str | None,
        requested_by: str | None,
        sla: Duration | None,
    ) -> operation_pb2.StartOperationRequest:
        """Asks for an operation to be started."""
        definition = json_text.write(flow.definition(name, steps, sla), "definition")
        return self.start_by(definition, input, key, key_policy, labels, request_id, reason, requested_by)

    def start_by(
        self,
        definition: bytes,
        input: object,  # noqa: A002 - the word of the contract
        key: str | None,
        key_policy: KeyPolicy | None,
        labels: Mapping[str, str] | None,
        request_id: str | None,
        reason: str | None,
        requested_by: str | None,
    ) -> operation_pb2.StartOperationRequest:
        """The same by a definition as it travels."""
        return operation_pb2.StartOperationRequest(
            namespace=self._namespace,
            request_id=request_id or _request_id(),
            reason=reason or "",
            definition=definition,
            input=b"" if input is None else json_text.write(input, "input"),
            key=key or "",
            key_policy=_KEY_POLICIES[key_policy] if key_policy else operation_pb2.KEY_POLICY_UNSPECIFIED,
            labels=labels,
            requested_by=requested_by or "",
        )

    def started(
        self,
        asked: operation_pb2.StartOperationRequest,
        answer: operation_pb2.StartOperationResponse,
        name: str | None = None,
    ) -> operation_pb2.Operation:
        """As much of the operation as a start and its answer tell; `name` if the request doesn't say it."""
        return operation_pb2.Operation(
            namespace=asked.namespace,
            id=answer.operation_id,
            name=json.loads(asked.definition)["name"] if name is None else name,
            state=answer.recorded.state,
            revision=answer.recorded.revision,
            sequence=answer.recorded.sequence,
            key=asked.key,
            labels=asked.labels,
        )

    def get(self, operation: str | OperationFacts) -> operation_pb2.GetOperationRequest:
        """Asks for one operation."""
        return operation_pb2.GetOperationRequest(namespace=self._namespace, operation_id=id_of(operation))

    def wait(self, operation: str | OperationFacts, timeout_s: float) -> operation_pb2.WaitOperationRequest:
        """Asks to wait for one operation."""
        timeout = DurationMessage()
        timeout.FromTimedelta(timedelta(seconds=timeout_s))
        return operation_pb2.WaitOperationRequest(
            namespace=self._namespace, operation_id=id_of(operation), timeout=timeout
        )

    def list(
        self, wanted: Wanted, order_by: OrderBy | None, page_size: int, page_token: str
    ) -> operation_pb2.ListOperationsRequest:
        """Asks for a page of operations."""
        return operation_pb2.ListOperationsRequest(
            namespace=self._namespace,
            filter=filter_of(wanted),
            order_by=order_by or "",
            page_size=page_size,
            page_token=page_token,
        )

    def count(self, wanted: Wanted, group_by: GroupBy | None = None) -> operation_pb2.CountOperationsRequest:
        """Asks how many operations there are."""
        return operation_pb2.CountOperationsRequest(
            namespace=self._namespace, filter=filter_of(wanted), group_by=group_by or ""
        )

    def pause(
        self,
        operation: str | OperationFacts,
        reason: str | None,
        clock: Clock | None,
        expected_revision: int,
        request_id: str | None,
    ) -> operation_pb2.PauseOperationRequest:
        """Asks to pause an operation."""
        return operation_pb2.PauseOperationRequest(
            namespace=self._namespace,
            request_id=request_id or _request_id(),
            reason=reason or "",
            operation_id=id_of(operation),
            expected_revision=expected_revision,
            clock=_CLOCKS[clock] if clock else operation_pb2.PAUSE_CLOCK_UNSPECIFIED,
        )

    def resume(
        self, operation: str | OperationFacts, reason: str | None, expected_revision: int, request_id: str | None
    ) -> operation_pb2.ResumeOperationRequest:
        """Asks to resume an operation."""
        return operation_pb2.ResumeOperationRequest(
            namespace=self._namespace,
            request_id=request_id or _request_id(),
            reason=reason or "",
            operation_id=id_of(operation),
            expected_revision=expected_revision,
        )

    def cancel(
        self, operation: str | OperationFacts, reason: str | None, expected_revision: int, request_id: str | None
    ) -> operation_pb2.CancelOperationRequest:
        """Asks to cancel an operation."""
        return operation_pb2.CancelOperationRequest(
            namespace=self._namespace,
            request_id=request_id or _request_id(),
            reason=reason or "",
            operation_id=id_of(operation),
            expected_revision=expected_revision,
        )

    def retry(
        self,
        operation: str | OperationFacts,
        step: str,
        reason: str | None,
        expected_revision: int,
        request_id: str | None,
    ) -> operation_pb2.RetryStepRequest:
        """Asks to give a stalled step fresh retries."""
        return operation_pb2.RetryStepRequest(
            namespace=self._namespace,
            request_id=request_id or _request_id(),
            reason=reason or "",
            operation_id=id_of(operation),
            step=step,
            expected_revision=expected_revision,
        )

    def skip(
        self, operation: str | OperationFacts, step: str, reason: str, expected_revision: int, request_id: str | None
    ) -> operation_pb2.SkipStepRequest:
        """Asks to leave a stalled step out."""
        return operation_pb2.SkipStepRequest(
            namespace=self._namespace,
            request_id=request_id or _request_id(),
            reason=reason,
            operation_id=id_of(operation),
            step=step,
            expected_revision=expected_revision,
        )

    # -- jobs

    def many(self, kind: type[_Many], operations: Iterable[str | OperationFacts] | None, selected: Selected) -> _Many:
        """Asks for a job that does one thing, which is the kind of request, to many operations."""
        return kind(
            namespace=self._namespace,
            request_id=selected.get("request_id") or _request_id(),
            reason=selected.get("reason") or "",
            selection=job_pb2.JobSelection(
                filter=filter_of(wanted_of(selected)),
                operation_ids=[] if operations is None else list(map(id_of, operations)),
                everything=selected.get("everything", False),
                count_max=selected.get("count_max"),
            ),
            validate_only=selected.get("dry_run", False),
        )

    def pause_many(
        self, operations: Iterable[str | OperationFacts] | None, selected: Selected, clock: Clock | None
    ) -> job_pb2.PauseOperationsRequest:
        """Asks for a job that pauses operations."""
        request = self.many(job_pb2.PauseOperationsRequest, operations, selected)
        if clock is not None:
            request.clock = _CLOCKS[clock]
        return request

    def job(self, job: str | JobFacts) -> job_pb2.GetJobRequest:
        """Asks for a job."""
        return job_pb2.GetJobRequest(namespace=self._namespace, job_id=job_id_of(job))

    def jobs(self, page_size: int, page_token: str) -> job_pb2.ListJobsRequest:
        """Asks for a page of jobs."""
        return job_pb2.ListJobsRequest(namespace=self._namespace, page_size=page_size, page_token=page_token)

    def job_results(
        self, job: str | JobFacts, outcome: Outcome | None, page_size: int, page_token: str
    ) -> job_pb2.ListJobResultsRequest:
        """Asks for a page of results."""
        return job_pb2.ListJobResultsRequest(
            namespace=self._namespace,
            job_id=job_id_of(job),
            page_size=page_size,
            page_token=page_token,
            outcome=OUTCOMES[outcome] if outcome else job_pb2.JOB_OUTCOME_UNSPECIFIED,
        )

    def watch_job(self, job: str | JobFacts) -> job_pb2.WatchJobRequest:
        """Asks to follow a job."""
        return job_pb2.WatchJobRequest(namespace=self._namespace, job_id=job_id_of(job))

    def cancel_job(self, job: str | JobFacts, reason: str | None, request_id: str | None) -> job_pb2.CancelJobRequest:
        """Asks to end a job."""
        return job_pb2.CancelJobRequest(
            namespace=self._namespace,
            request_id=request_id or _request_id(),
            reason=reason or "",
            job_id=job_id_of(job),
        )

    # -- deferred steps

    def complete_step(self, token: str, output: object, request_id: str | None) -> worker_pb2.CompleteStepRequest:
        """Says that a deferred step is done. Its namespace is that of the token."""
        return worker_pb2.CompleteStepRequest(
            request_id=request_id or _request_id(),
            completion_token=token,
            done=worker_pb2.Done(output=b"" if output is None else json_text.write(output, "output")),
        )

    def fail_step(
        self,
        token: str,
        message: str,
        code: str | None,
        retry_after: Duration | None,
        request_id: str | None,
        *,
        retryable: bool,
    ) -> worker_pb2.CompleteStepRequest:
        """Says that a deferred step has failed."""
        failed = worker_pb2.Failed(message=message, code=code or "", permanent=not retryable)
        if retry_after is not None:
            failed.retry_after.FromMilliseconds(milliseconds(retry_after))
        return worker_pb2.CompleteStepRequest(
            request_id=request_id or _request_id(), completion_token=token, failed=failed
        )

    # -- checkpoints

    def shown(self, operation: str | OperationFacts, checkpoint: str | None) -> checkpoint_pb2.GetCheckpointRequest:
        """Asks for what is shown to whoever decides."""
        return checkpoint_pb2.GetCheckpointRequest(
            namespace=self._namespace, operation_id=id_of(operation), checkpoint=checkpoint or ""
        )

    def inbox(self, role: str | None, page_size: int, page_token: str) -> checkpoint_pb2.ListCheckpointsRequest:
        """Asks for a page of pending decisions."""
        return checkpoint_pb2.ListCheckpointsRequest(
            namespace=self._namespace, page_size=page_size, page_token=page_token, role=role or ""
        )

    def approve(
        self,
        operation: str | OperationFacts,
        checkpoint: str,
        comment: str | None,
        seen: str | Shown | None,
        request_id: str | None,
    ) -> checkpoint_pb2.ApproveCheckpointRequest:
        """Asks to approve a checkpoint."""
        return checkpoint_pb2.ApproveCheckpointRequest(
            namespace=self._namespace,
            request_id=request_id or _request_id(),
            operation_id=id_of(operation),
            checkpoint=checkpoint,
            comment=comment or "",
            seen=digest_of(seen),
        )

    def reject(
        self,
        operation: str | OperationFacts,
        checkpoint: str,
        comment: str | None,
        seen: str | Shown | None,
        request_id: str | None,
    ) -> checkpoint_pb2.RejectCheckpointRequest:
        """Asks to reject a checkpoint."""
        return checkpoint_pb2.RejectCheckpointRequest(
            namespace=self._namespace,
            request_id=request_id or _request_id(),
            operation_id=id_of(operation),
            checkpoint=checkpoint,
            comment=comment or "",
            seen=digest_of(seen),
        )

    def claim(
        self, operation: str | OperationFacts, checkpoint: str, reason: str | None, request_id: str | None
    ) -> checkpoint_pb2.ClaimCheckpointRequest:
        """Asks to take a decision on."""
        return checkpoint_pb2.ClaimCheckpointRequest(
            namespace=self._namespace,
            request_id=request_id or _request_id(),
            reason=reason or "",
            operation_id=id_of(operation),
            checkpoint=checkpoint,
        )

    def release(
        self, operation: str | OperationFacts, checkpoint: str, reason: str | None, request_id: str | None
    ) -> checkpoint_pb2.ReleaseCheckpointRequest:
        """Asks to give a claim back."""
        return checkpoint_pb2.ReleaseCheckpointRequest(
            namespace=self._namespace,
            request_id=request_id or _request_id(),
            reason=reason or "",
            operation_id=id_of(operation),
            checkpoint=checkpoint,
        )

    def assign(
        self,
        operation: str | OperationFacts,
        checkpoint: str,
        assignee: str,
        reason: str | None,
        request_id: str | None,
    ) -> checkpoint_pb2.AssignCheckpointRequest:
        """Asks to assign a decision."""
        return checkpoint_pb2.AssignCheckpointRequest(
            namespace=self._namespace,
            request_id=request_id or _request_id(),
            reason=reason or "",
            operation_id=id_of(operation),
            checkpoint=checkpoint,
            assignee=assignee,
        )

    # -- timelines

    def watch(
        self, operation_id: str, after: str, *, follow: bool, records: bool
    ) -> timeline_pb2.WatchOperationRequest:
        """Asks for a timeline, and what follows."""
        return timeline_pb2.WatchOperationRequest(
            namespace=self._namespace,
            operation_id=operation_id,
            after=after,
            no_follow=not follow,
            with_records=records,
        )

    def stream(
        self, choice: Choice, start: str | datetime | bool, *, prove: bool, earlier_size: int
    ) -> timeline_pb2.WatchEventsRequest:
        """Asks for the events of all operations. `start` is a cursor, a time, True for the beginning, False for now."""
        request = timeline_pb2.WatchEventsRequest(
            namespace=self._namespace,
            filter=choice.filter(),
            no_follow=not choice.follow,
            with_payloads=choice.payloads,
            with_records=choice.records,
            with_proof=prove,
            earlier_size=earlier_size,
        )
        match start:
            case bool():
                if start:
                    request.from_beginning = True
            case str():
                request.after = start
            case _:
                request.since.FromDatetime(start)
        return request

    def explain(self, operation: str | OperationFacts, time_zone: str | None) -> timeline_pb2.ExplainOperationRequest:
        """Asks for an account."""
        return timeline_pb2.ExplainOperationRequest(
            namespace=self._namespace, operation_id=id_of(operation), time_zone=time_zone or ""
        )

    def export(
        self, operation: str | OperationFacts, earlier_sizes: Sequence[int]
    ) -> timeline_pb2.ExportOperationRequest:
        """Asks for an export."""
        return timeline_pb2.ExportOperationRequest(
            namespace=self._namespace, operation_id=id_of(operation), earlier_sizes=earlier_sizes
        )

    # -- the daemon

    def advance(self, by: Duration, reason: str | None, request_id: str | None) -> system_pb2.AdvanceClockRequest:
        """Asks to move the clock of a test daemon."""
        distance = DurationMessage()
        distance.FromMilliseconds(milliseconds(by))
        return system_pb2.AdvanceClockRequest(request_id=request_id or _request_id(), reason=reason or "", by=distance)


def _request_id() -> str:
    return str(uuid.uuid4())
