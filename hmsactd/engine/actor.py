"""The coroutine of one busy operation: hears what it is told, records what has happened, answers, then acts.

It reads its whole mailbox at once, so that many letters cost one append. Nothing it holds is the truth: if an append
fails it forgets everything, and whoever needs the operation next replays it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import structlog

from hmsactd.clock import Clock
from hmsactd.core.apply import replay
from hmsactd.core.decide import decide
from hmsactd.core.effects import AwaitReport, Effect, RunStep, WakeAt
from hmsactd.core.events import Event
from hmsactd.core.inputs import StepTaken
from hmsactd.core.note import note_of
from hmsactd.core.operation import Operation, StepItem
from hmsactd.core.outstanding import outstanding, step_to_run
from hmsactd.core.rejected import Rejected
from hmsactd.core.story import Outcome
from hmsactd.engine.contents import Contents
from hmsactd.engine.dispatch import Dispatch, Line
from hmsactd.engine.letter import Answer, Letter, RequestKey
from hmsactd.engine.session import AttemptKey, Call, Session
from hmsactd.engine.summary import NOTHING_GIVEN, Given, given_in, summarise
from hmsactd.engine.tokens import Tokens
from hmsactd.errors import NotFound, ResourceExhausted, Unavailable
from hmsactd.store.errors import Fenced
from hmsactd.store.errors import Unavailable as StoreUnavailable
from hmsactd.store.store import RequestRow, Summary
from hmsactd.timeline.timeline import Receipt, Timeline, Timelines

log = structlog.get_logger(__name__)

TRY_AGAIN_AFTER_MS = 1_000
"""When callers may try again after a failure of the store. It is itself tried as often."""


class Surroundings(Protocol):
    """What an actor needs of the engine around it."""

    clock: Clock
    timelines: Timelines
    dispatch: Dispatch
    mailbox_max: int
    idle_us: int
    tokens: Tokens

    def recorded(
        self, namespace: str, operation_id: str, before: Operation | None, after: Operation, events: Sequence[Event]
    ) -> None:
        """Events have been recorded."""

    def wake_at(self, at: int) -> None:
        """The operation wants to be woken at this time."""

    def call_is_lost(self, namespace: str, operation_id: str, effect: AwaitReport) -> None:
        """An operation awaits a report from a session that the dispatch does not know."""


class Taken(NamedTuple):
    """A place reserved at a worker for the attempt that is about to be recorded."""

    session: Session
    effect: RunStep


class Actor:
    """One operation, while it is busy. Others speak to it by `post`; only its own coroutine touches the rest."""

    def __init__(
        self,
        around: Surroundings,
        namespace: str,
        operation_id: str,
        timeline: Timeline | None = None,
        given: Given = NOTHING_GIVEN,
        *,
        is_brief: bool = False,
    ) -> None:
        self.namespace = namespace
        self.operation_id = operation_id
        self.operation: Operation | None = None
        self.idle_since = 0
        self._around = around
        self._timeline = timeline
        self._is_new = timeline is not None
        self._given = given
        self._contents = Contents(around.timelines, namespace, operation_id)
        self._names: dict[int, str] = {}
        self._mailbox: deque[Letter] = deque()
        self._mail_awaited: asyncio.Future[None] | None = None
        self._is_closing = False
        self._effects: tuple[Effect, ...] = ()
        self._queued: Line | None = None
        self.is_in_doubt = False
        """True if it has ended without knowing what is on the record, or without having acted on it."""
        self.is_brief = is_brief
        """True if it need not stay for more mail, unless that is to be expected."""

    @property
    def summary(self) -> Summary | None:
        """The operation as last kept; None while that is being read."""
        return self._timeline.summary if self._timeline is not None else None

    @property
    def is_new(self) -> bool:
        """True until its operation is on the record."""
        return self._is_new

    @property
    def is_idle(self) -> bool:
        """True if it waits for mail."""
        return self.idle_since > 0 and not self._mailbox

    @property
    def is_queued(self) -> bool:
        """True if its step waits for a worker."""
        return self._queued is not None

    def post(self, letter: Letter) -> None:
        """Put a letter into the mailbox; raises `ResourceExhausted` when it is full."""
        if len(self._mailbox) >= self._around.mailbox_max:
            raise ResourceExhausted(
                "MAILBOX_FULL", f"{len(self._mailbox)} requests wait for {self.operation_id}; try again in a moment"
            )
        self._mailbox.append(letter)
        self._look_up()

    def close(self) -> None:
        """Let it end once its mailbox is empty."""
        self._is_closing = True
        self._look_up()

    def _look_up(self) -> None:
        awaited, self._mail_awaited = self._mail_awaited, None
        # Done already if the actor was cancelled while it waited.
        if awaited is not None and not awaited.done():
            awaited.set_result(None)

    async def run(self) -> None:
        """Live until let go, final, or overtaken by another owner. Whoever waits for an answer learns how it ended."""
        try:
            if not self._is_new:
                await self._load()
            await self._live()
        except Fenced:
            if not self._is_new:
                # A new operation has no other owner: its request was carried out before, and the caller is told so.
                self.is_in_doubt = True
                log.warning("operation has another owner", namespace=self.namespace, operation=self.operation_id)
            self.refuse(Unavailable("OWNER_CHANGED", "the operation has moved to another owner; try again"))
        except (StoreUnavailable, Unavailable) as error:
            self.is_in_doubt = True
            self.refuse(_as_unavailable(error))
        except NotFound as error:
            self.refuse(error)
        except asyncio.CancelledError:
            self.is_in_doubt = True
            raise
        finally:
            # Past this point nobody may believe that the letter box is still emptied.
            self.refuse(Unavailable("ACTOR_ENDED", f"{self.operation_id} could not be told; try again"))

    # -- life ----------------------------------------------------------------------------------------------------------

    async def _load(self) -> None:
        # Else what it recorded last may come to light later, and nobody would look again.
        await self._around.timelines.settled()
        operation: Operation | None = None

        def hear(events: Sequence[Event]) -> None:
            nonlocal operation
            operation = replay(events, operation)

        timeline = await self._around.timelines.load(self.namespace, self.operation_id, hear)
        if timeline is None:
            raise NotFound("OPERATION_UNKNOWN", f"there is no operation {self.operation_id}")
        self._timeline, self.operation = timeline, operation
        assert self.operation is not None and self._timeline.summary is not None
        self._given = given_in(self._timeline.summary)
        self._name_items(self.operation)
        self._effects = outstanding(self.operation)
        for effect in self._effects:
            if isinstance(effect, AwaitReport) and not self._is_in_hand(effect):
                # After a restart, or a failed append, nobody may ever have got the call.
                self._around.call_is_lost(self.namespace, self.operation_id, effect)

    async def _live(self) -> None:
        while True:
            while not self._mailbox:
                if self._is_closing or (self.operation is not None and self.operation.is_final):
                    return
                if self.is_brief and not self._is_soon_told_more():
                    return
                self.idle_since = self._around.clock.passed()
                self._mail_awaited = asyncio.get_running_loop().create_future()
                await self._mail_awaited
            self.idle_since = 0
            await self._turn()

    def _is_soon_told_more(self) -> bool:
        """True if a worker has its step, or is to have it, or if it is due before an idle operation is let go."""
        until = self._around.clock.now() + self._around.idle_us
        return any(
            effect.at < until if isinstance(effect, WakeAt) else isinstance(effect, RunStep | AwaitReport)
            for effect in self._effects
        )

    def refuse(self, error: Exception) -> None:
        """Answer all that is in the mailbox with an error."""
        while self._mailbox:
            self._mailbox.popleft().settle(error)

    # -- one turn ------------------------------------------------------------------------------------------------------

    async def _turn(self) -> None:
        """Read all letters, record what has happened in one append, answer, then act."""
        letters = list(self._mailbox)
        self._mailbox.clear()
        try:
            await self._hear_out(letters)
        except BaseException as error:
            # Whatever it is, nobody waits for ever; who has been answered already stays so.
            for letter in letters:
                letter.settle(_as_unavailable(error))
            raise

    async def _hear_out(self, letters: list[Letter]) -> None:
        before = self.operation
        events: list[Event] = []
        requests: list[RequestRow] = []
        heard = [(letter, self._hear(letter, events, requests)) for letter in letters]
        taken = self._take(events)
        try:
            receipt = await self._record(events, requests)
        except BaseException:
            self._give_up(taken, before)
            raise
        if events and self.operation is not None:
            self._around.recorded(self.namespace, self.operation_id, before, self.operation, events)
        self._answer(heard, receipt)
        await self._act(taken)

    def _hear(self, letter: Letter, events: list[Event], requests: list[RequestRow]) -> tuple[Event, ...] | Rejected:
        """Let the core decide on one letter; what has happened is added to `events`."""
        told = letter.told
        if callable(told):
            asked = told(self.operation) if self.operation is not None else None
            if asked is None:
                return ()
            told = asked
        try:
            outcome = decide(self.operation, told, self._around.clock.now())
        except Rejected as rejected:
            if (note := note_of(told, rejected)) is not None:
                self._take_in(decide(self.operation, note, self._around.clock.now()), events)
            return rejected
        self._take_in(outcome, events)
        if letter.request is not None and self.operation is not None:
            requests.append(_request_row(letter.request, self.operation_id, self.operation))
        return outcome.events

    def _take_in(self, outcome: Outcome, events: list[Event]) -> None:
        events.extend(outcome.events)
        self.operation = outcome.operation

    def _take(self, events: list[Event]) -> Taken | None:
        """If a step waits and a worker has a place, the attempt goes on the record with everything else."""
        operation = self.operation
        if operation is None:
            return None
        effect = step_to_run(operation)
        if effect is None:
            self._around.dispatch.forsake(self.namespace, self.operation_id)
            return None
        line = Line(self.namespace, effect.svc, effect.step)
        session = self._around.dispatch.take(line, self.operation_id)
        if session is None:
            return None
        taken = StepTaken(session.principal, effect.instance, effect.attempt, session.id)
        try:
            self._take_in(decide(operation, taken, self._around.clock.now()), events)
        except BaseException:
            self._around.dispatch.release(session)
            raise
        return Taken(session, effect)

    async def _record(self, events: list[Event], requests: list[RequestRow]) -> Receipt | None:
        if not events or self.operation is None:
            return None
        assert self._timeline is not None
        if self._is_new:
            self._name_items(self.operation)
        first = self._timeline.sequence + 1
        summary = summarise(self.namespace, self.operation_id, self.operation, self._given)
        receipt = await self._timeline.append(events, self._names, summary, requests)
        self._is_new = False
        self._contents.remember(first, events)
        return receipt

    def _answer(self, heard: list[tuple[Letter, tuple[Event, ...] | Rejected]], receipt: Receipt | None) -> None:
        for letter, result in heard:
            if isinstance(result, Rejected):
                letter.settle(result)
            elif self.operation is None:
                letter.settle(NotFound("OPERATION_UNKNOWN", f"there is no operation {self.operation_id}"))
            else:
                letter.settle(Answer(self.operation_id, self.operation, result, receipt))

    # -- effects -------------------------------------------------------------------------------------------------------

    async def _act(self, taken: Taken | None) -> None:
        """Bring what is under way into line with the state. What is recorded is only now acted on."""
        operation = self.operation
        if operation is None:
            return
        effects = outstanding(operation)
        dispatch = self._around.dispatch
        for gone in self._effects:
            if isinstance(gone, AwaitReport) and gone not in effects:
                self._withdraw(gone)
        for effect in effects:
            match effect:
                case RunStep():
                    line = Line(self.namespace, effect.svc, effect.step)
                    # Also if it was queued before: the place it was promised may have gone meanwhile.
                    self._queued = line
                    # Of several steps that wait, that of the operation begun first comes first: else a worker that
                    # finds a hundred thousand would do the first step of each before the second of any.
                    dispatch.queue(line, self.operation_id, operation.started_at)
                case WakeAt(at=at):
                    self._around.wake_at(at)
                case _:
                    pass
        if self._queued is not None and not any(isinstance(effect, RunStep) for effect in effects):
            dispatch.unqueue(self._queued, self.operation_id)
            self._queued = None
        self._effects = effects
        if taken is not None:
            await self._give(taken, operation)

    async def _give(self, taken: Taken, operation: Operation) -> None:
        """Hand the recorded attempt to the worker whose place was reserved."""
        try:
            call = await self._call(taken.effect, operation)
        except BaseException:
            # The attempt is on the record, and nobody has it.
            self._around.dispatch.fill(taken.session)
            self._miss(taken)
            raise
        self._around.dispatch.fill(taken.session)
        if taken.session.id in self._around.dispatch.sessions:
            taken.session.give(call, self._around.clock.passed())
        else:
            # The worker was given up while the attempt was being recorded.
            self._miss(taken)

    def _is_in_hand(self, effect: AwaitReport) -> bool:
        """True if the session whose report is awaited has the call."""
        session = self._around.dispatch.sessions.get(effect.session)
        return session is not None and session.has(AttemptKey(self.operation_id, effect.instance, effect.attempt))

    def _miss(self, taken: Taken) -> None:
        """An attempt was recorded that no worker was given: let it be given anew."""
        effect = AwaitReport(taken.effect.instance, taken.effect.attempt, taken.effect.svc, taken.session.id)
        self._around.call_is_lost(self.namespace, self.operation_id, effect)

    async def _call(self, effect: RunStep, operation: Operation) -> Call:
        item = operation.item(effect.instance)
        assert isinstance(item, StepItem)
        definition = item.definition
        content, outputs, skipped, left_out = await self._contents.for_call(operation)
        key = AttemptKey(self.operation_id, effect.instance, effect.attempt)
        return Call(
            key=key,
            step=definition.name,
            definition=operation.flow.name,
            idempotency_key=f"{self.operation_id}/{effect.instance}",
            deadline_at=item.since + definition.timeout_ms * 1000 if definition.timeout_ms is not None else None,
            heartbeat_ms=definition.heartbeat_ms,
            input=content,
            outputs=outputs,
            skipped=skipped,
            left_out=left_out,
            completion_token=self._around.tokens.token_of(self.namespace, effect.svc, key),
        )

    def _withdraw(self, gone: AwaitReport) -> None:
        """Tell the worker of an attempt that nobody waits for it; no news to one that has just reported it."""
        session = self._around.dispatch.sessions.get(gone.session)
        if session is None or self.operation is None:
            return
        item = self.operation.item(gone.instance)
        if isinstance(item, StepItem) and item.completion(gone.attempt) is not None:
            code = "COMPLETED"
        else:
            code = "CANCELLED" if self.operation.is_final else str(getattr(item, "code", None) or "LOST")
        session.withdraw(AttemptKey(self.operation_id, gone.instance, gone.attempt), code)

    def _give_up(self, taken: Taken | None, before: Operation | None) -> None:
        """Nothing was recorded: give a reserved place back, and forget what was only thought."""
        self.operation = before
        if taken is not None:
            self._around.dispatch.release(taken.session)

    def _name_items(self, operation: Operation) -> None:
        self._names = {item.instance: item.definition.name for item in operation.items}


def _as_unavailable(error: BaseException) -> Exception:
    if isinstance(error, Exception) and not isinstance(error, (Fenced, StoreUnavailable)):
        return error
    reason = error.reason if isinstance(error, StoreUnavailable) else "STORE_UNAVAILABLE"
    is_in_doubt = isinstance(error, asyncio.CancelledError) or getattr(error, "is_in_doubt", False)
    fate = "it is not known whether this was recorded" if is_in_doubt else "nothing was recorded"
    return Unavailable(reason, f"{fate}: {error}", retry_after_ms=TRY_AGAIN_AFTER_MS)


def _request_row(request: RequestKey, operation_id: str, operation: Operation) -> RequestRow:
    return RequestRow(
        namespace=request.namespace,
        principal=request.principal,
        rpc=request.rpc,
        request_id=request.request_id,
        digest=request.digest,
        operation=operation_id,
        sequence=operation.sequence,
        state=operation.state.value,
        revision=operation.revision,
    )
