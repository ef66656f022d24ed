"""An operation's turn in a job: what it is told, once, and what becomes of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import assert_never

from hmsactd import logs
from hmsactd.core.inputs import Cancel, Input, Pause, Resume, RetryStep
from hmsactd.core.operation import Operation, StepItem
from hmsactd.core.principal import Principal
from hmsactd.core.rejected import Ground, Rejected
from hmsactd.engine.engine import Engine
from hmsactd.engine.letter import RequestKey
from hmsactd.engine.requests import Done, Requests
from hmsactd.engine.summary import given_in, summarise
from hmsactd.errors import HmsactdError, ResourceExhausted, Unavailable
from hmsactd.jobs.job import Action, Words
from hmsactd.store.errors import Unavailable as StoreUnavailable
from hmsactd.store.job import AHEAD, ResultRow
from hmsactd.store.matching import matches
from hmsactd.store.store import Summary
from hmsactd.timeline.payloads import commit_words

RPC = "JobService"
"""By which the requests of jobs are told from those of callers. A job has one for each operation."""

log = logs.logger(__name__)


class Outcome(StrEnum):
    """What became of an operation's turn."""

    AHEAD = AHEAD
    """It has not come, or the job ended before."""
    DONE = "done"
    SKIPPED = "skipped"
    """Left alone: its state did not allow it, or it no longer matched."""
    REFUSED = "refused"
    """There is no such operation, or it could not be done to it."""


class NotNow(Exception):
    """Raised when an operation can't be told just now; its turn has to come again. `reason` as of an error."""

    def __init__(self, reason: str, sentence: str) -> None:
        super().__init__(sentence)
        self.reason = reason
        self.sentence = sentence


@dataclass(frozen=True, slots=True)
class Task:
    """What a job does to each of its operations."""

    namespace: str
    job: str
    action: Action
    by: Principal
    words: Words

    def told(self, operation: Operation) -> Input:
        """What an operation is told. Whether that is allowed is for the core to say."""
        # A commitment of its own for each: equal ones would tell that equal things were said.
        reason = commit_words(self.words.reason) if self.words.reason else None
        match self.action:
            case Action.PAUSE:
                return Pause(self.by, self.words.stop_clock, reason, job=self.job)
            case Action.RESUME:
                return Resume(self.by, reason, job=self.job)
            case Action.CANCEL:
                return Cancel(self.by, reason, job=self.job)
            case Action.RETRY:
                return RetryStep(self.by, _step_to_retry(operation), reason, job=self.job)
            case _:
                assert_never(self.action)

    def request(self, operation_id: str) -> RequestKey:
        """The request that this is: the same whenever it is tried again, so that it is carried out once."""
        return RequestKey(self.namespace, self.by.id, RPC, f"{self.job}/{operation_id}", "")


def _step_to_retry(operation: Operation) -> str:
    """The stalled step; without one, the step for which that will be refused."""
    item = operation.current
    if isinstance(item, StepItem):
        return item.definition.name
    return next((item.definition.name for item in operation.items if isinstance(item, StepItem)), "")


class Turns:
    """Gives operations their turn."""

    def __init__(self, task: Task, engine: Engine, requests: Requests, now: Callable[[], int]) -> None:
        self._task = task
        self._engine = engine
        self._requests = requests
        self._now = now

    async def take(self, turn: ResultRow, listed: Summary | None) -> ResultRow:
        """What became of one turn; `listed` is the operation as the filter found it. Raises NotNow."""
        task = self._task
        is_left_alone = False

        def told(operation: Operation) -> Input | None:
            nonlocal is_left_alone
            # Looked at when the operation reads it, with nothing in between: it may have moved on since it was listed.
            if listed is not None:
                now = summarise(task.namespace, turn.operation, operation, given_in(listed))
                is_left_alone = not matches(now, task.words.where)
            return None if is_left_alone else task.told(operation)

        key = task.request(turn.operation)
        try:
            done = await self._requests.once(
                task.namespace, key, lambda: self._engine.tell(task.namespace, turn.operation, told, key)
            )
        except Rejected as rejected:
            is_fitting = rejected.ground not in (Ground.PRECONDITION, Ground.CHANGED)
            return self._not_done(
                turn, Outcome.REFUSED if is_fitting else Outcome.SKIPPED, rejected.code, rejected.sentence
            )
        except (Unavailable, ResourceExhausted) as error:
            raise NotNow(error.reason, error.sentence) from error
        except StoreUnavailable as error:
            raise NotNow(error.reason, str(error)) from error
        except HmsactdError as error:
            return self._not_done(turn, Outcome.REFUSED, error.reason, error.sentence)
        except Exception:
            log.exception("an operation's turn failed by a fault of the daemon", job=task.job, operation=turn.operation)
            return self._not_done(turn, Outcome.REFUSED, "INTERNAL", "the daemon has a fault; its log knows more")
        if is_left_alone:
            sentence = "it no longer matched the filter when its turn came"
            return self._not_done(turn, Outcome.SKIPPED, "NO_LONGER_MATCHES", sentence)
        return self._done(turn, done)

    def _done(self, turn: ResultRow, done: Done) -> ResultRow:
        return replace(
            turn,
            outcome=Outcome.DONE.value,
            at=self._now(),
            state=done.state,
            revision=done.revision,
            sequence=done.receipt.sequence,
        )

    def _not_done(self, turn: ResultRow, outcome: Outcome, reason: str, sentence: str) -> ResultRow:
        return replace(turn, outcome=outcome.value, at=self._now(), reason=reason, sentence=sentence)
