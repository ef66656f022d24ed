"""One called service: takes calls as a worker does, performs them, and reports what came of them.

Everything a worker's process would do is done by one coroutine and one task a call, all of them in its own group.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, assert_never

from hmsactd import logs
from hmsactd.clock import Clock
from hmsactd.core.inputs import StepDeferred, StepErred, StepSucceeded
from hmsactd.definition.bounds import Bounds
from hmsactd.engine.session import AttemptKey, Call, Verdict
from hmsactd.engine.workers import Workers
from hmsactd.services.breaker import Breaker, BreakerState
from hmsactd.services.caller import Caller
from hmsactd.services.outcome import Deferred, Done, Failed, Outcome
from hmsactd.services.pace import Pace
from hmsactd.services.session import CalledSession
from hmsactd.settings.called import Called
from hmsactd.timeline.payloads import NotJson, TooDeep, TooLarge, commit, commit_words

LOOK_MAX_S = 10.0
"""How long looking for a service may take."""

REPORT_AGAIN_US = 1_000_000
"""After what time a report is made again that could not be recorded: the store is in trouble."""

PACE_MIN_US = 10_000
"""The shortest sleep of the pace. At high rates a few calls are let out at a time."""

BOUNDS = Bounds()

log = logs.logger(__name__)


class Observer(Protocol):
    """Is told what happens to called services; must be quick and must not fail."""

    def service_became(self, svc: str, state: str) -> None:
        """A service is treated in another way."""

    def service_called(self, svc: str, outcome: str, seconds: float) -> None:
        """A call has ended."""


@dataclass(frozen=True, slots=True)
class PayloadLimits:
    """What an output may have, and how long the words of an error may be."""

    bytes_max: int
    depth_max: int
    words_bytes_max: int


@dataclass(slots=True)
class UnderWay:
    """A call that is being performed, and why it was withdrawn, if it was."""

    withdrawn: str = ""
    # Of asyncio and not of anyio, whose scopes do not know a cancellation again that has been through grpc.aio.
    timeout: asyncio.Timeout | None = None


class CalledService:
    """Runs until cancelled. `leave` lets it take no further call; `idle` returns when it has none in hand."""

    def __init__(
        self,
        svc: str,
        called: Called,
        caller: Caller,
        breaker: Breaker,
        workers: Workers,
        clock: Clock,
        observer: Observer,
        limits: PayloadLimits,
    ) -> None:
        self.svc = svc
        self._called = called
        self._caller = caller
        self._breaker = breaker
        self._workers = workers
        self._clock = clock
        self._observer = observer
        self._limits = limits
        self._pace = Pace(called.rate)
        self.session = CalledSession(svc, called, self._pace, clock)
        self._under_way: dict[AttemptKey, UnderWay] = {}
        self._reports: dict[AttemptKey, Callable[[], None]] = {}
        self._tasks: asyncio.TaskGroup | None = None
        self._opened = asyncio.Event()
        self._begun = asyncio.Event()
        self._ended = asyncio.Event()

    @property
    def state(self) -> BreakerState:
        """How it is treated now."""
        return self._breaker.state

    async def run(self) -> None:
        """Take calls, for ever."""
        self._observer.service_became(self.svc, self.state.value)
        try:
            async with asyncio.TaskGroup() as self._tasks:
                self._tasks.create_task(self._look(), name=f"look for {self.svc}")
                self._tasks.create_task(self._keep_pace(), name=f"pace of {self.svc}")
                self._workers.attach(self.session)
                await self._listen(self._tasks)
        finally:
            await self._caller.close()

    def leave(self) -> None:
        """Take no further call; those under way may end."""
        self._workers.leaving(self.session)

    async def idle(self) -> None:
        """Return when no call is under way, and every report has its verdict."""
        while self._under_way or self._reports:
            self._ended.clear()
            await self._ended.wait()

    # -- calls ---------------------------------------------------------------------------------------------------------

    async def _listen(self, tasks: asyncio.TaskGroup) -> None:
        while True:
            await self.session.news()
            outbox = self.session.take_outbox()
            for call in outbox.calls:
                under_way = self._under_way[call.key] = UnderWay()
                name = f"call {self.svc} {call.idempotency_key}"
                tasks.create_task(self._perform(call, under_way), name=name)
            for key, code in outbox.withdrawn:
                self._withdraw(key, code)
            for verdict in outbox.verdicts:
                self._judged(tasks, verdict)
            if outbox.calls:
                self._begun.set()

    async def _perform(self, call: Call, under_way: UnderWay) -> None:
        generation, began = self._breaker.generation, self._clock.passed()
        try:
            outcome = await self._outcome(call, under_way)
        finally:
            del self._under_way[call.key]
            self._ended.set()
        now = self._clock.passed()
        self._observer.service_called(self.svc, _label(outcome, under_way), (now - began) / 1e6)
        if isinstance(outcome, Failed) and outcome.asks_for_peace_ms is not None:
            self._pace.shut(now + min(outcome.asks_for_peace_ms, self._called.pause_max.ms) * 1000)
            self._begun.set()
        if not under_way.withdrawn or under_way.withdrawn == "TIMEOUT":
            is_reachable = not (isinstance(outcome, Failed) and outcome.is_unreachable)
            if self._breaker.heard(generation, is_reachable, now):
                self._changed(outcome)
        # Reports are not made faster than they are judged. Until then the call keeps its place.
        await self.session.hearing()
        self._report(call.key, outcome)

    async def _outcome(self, call: Call, under_way: UnderWay) -> Outcome:
        """What comes of a call, whatever happens: one that fails in a way of our own is a failure like others."""
        deadline_at = self._clock.now() + self._called.deadline.us
        deadline_at = min(deadline_at, call.deadline_at) if call.deadline_at is not None else deadline_at
        within_s = 0 if under_way.withdrawn else (deadline_at - self._clock.now()) / 1e6
        try:
            async with asyncio.timeout(within_s) as under_way.timeout:
                return await self._caller.call(call, deadline_at)
        except Exception:
            if under_way.timeout is None or not under_way.timeout.expired():
                log.exception("a call failed in an unforeseen way", svc=self.svc, call=call.idempotency_key)
                return Failed("INTERNAL", "the daemon could not make the call; its log says why")
        if under_way.withdrawn and under_way.withdrawn != "TIMEOUT":
            sentence = "the call was cut off; what the service has made of it is not known"
            return Failed("WITHDRAWN", sentence, is_permanent=True)
        return Failed("DEADLINE_EXCEEDED", "the service did not answer in time", is_unreachable=True)

    def _withdraw(self, key: AttemptKey, code: str) -> None:
        """Nobody waits for an attempt any more: stop waiting for its answer."""
        under_way = self._under_way.get(key)
        if under_way is None:
            return
        under_way.withdrawn = code
        if under_way.timeout is not None and not under_way.timeout.expired():
            under_way.timeout.reschedule(asyncio.get_running_loop().time())

    # -- reports -------------------------------------------------------------------------------------------------------

    def _report(self, key: AttemptKey, outcome: Outcome) -> None:
        report = self._reports[key] = self._report_of(key, outcome)
        report()

    def _report_of(self, key: AttemptKey, outcome: Outcome) -> Callable[[], None]:
        by, workers, session = self.session.principal, self._workers, self.session
        match outcome:
            case Done(output=output):
                try:
                    payload = commit(output or b"null", self._limits.bytes_max, self._limits.depth_max)
                except (NotJson, TooLarge, TooDeep) as error:
                    # It has done the step; asked again it would say the same.
                    sentence = f"the output was refused: {error}"
                    refused = StepErred(by, key.instance, key.attempt, "BAD_OUTPUT", True, commit_words(sentence))
                    return lambda: workers.refuse(session, key, refused, "BAD_OUTPUT", sentence)
                succeeded = StepSucceeded(by, key.instance, key.attempt, payload)
                return lambda: workers.report(session, key, succeeded)
            case Failed():
                erred = self._erred(key, outcome)
                return lambda: workers.report(session, key, erred)
            case Deferred(until=until):
                within_ms = _within_ms(until, self._clock.now()) if until is not None else None
                deferred = StepDeferred(by, key.instance, key.attempt, within_ms)
                return lambda: workers.report(session, key, deferred)
            case _:
                assert_never(outcome)

    def _erred(self, key: AttemptKey, failed: Failed) -> StepErred:
        words = failed.message.encode("utf-8", "replace")[: self._limits.words_bytes_max].decode("utf-8", "ignore")
        return StepErred(
            self.session.principal,
            key.instance,
            key.attempt,
            failed.code,
            failed.is_permanent,
            commit_words(words) if words else None,
            failed.retry_after_ms,
        )

    def _judged(self, tasks: asyncio.TaskGroup, verdict: Verdict) -> None:
        report = self._reports.get(verdict.key)
        if verdict.kind == "again" and report is not None:
            tasks.create_task(self._report_again(report), name=f"report again {verdict.key.operation_id}")
            return
        self._reports.pop(verdict.key, None)
        self._ended.set()

    async def _report_again(self, report: Callable[[], None]) -> None:
        await self._sleep(REPORT_AGAIN_US)
        report()

    # -- outages and pace ----------------------------------------------------------------------------------------------

    def _changed(self, outcome: Outcome | None = None) -> None:
        """Take as many calls as the state allows, and say so once."""
        state = self._breaker.state
        said = {"because": outcome.code} if isinstance(outcome, Failed) else {}
        match state:
            case BreakerState.CLOSED:
                log.info("a called service works", svc=self.svc)
            case BreakerState.HALF_OPEN:
                log.info("a called service answers again: one call is tried", svc=self.svc)
            case BreakerState.OPEN:
                log.warning("a called service can't be reached: its steps wait", svc=self.svc, **said)
                self._opened.set()
            case _:
                assert_never(state)
        self._observer.service_became(self.svc, state.value)
        places = {BreakerState.CLOSED: self._called.concurrency, BreakerState.HALF_OPEN: 1, BreakerState.OPEN: 0}
        self._workers.resize(self.session, places[state])

    async def _look(self) -> None:
        """While it can't be reached, look for it from time to time; that costs no step an attempt."""
        while True:
            await self._opened.wait()
            self._opened.clear()
            while self._breaker.state is BreakerState.OPEN:
                await self._sleep(self._breaker.look_at - self._clock.passed())
                if self._breaker.looked(await self._is_there(), self._clock.passed()):
                    self._changed()

    async def _is_there(self) -> bool:
        try:
            async with asyncio.timeout(min(LOOK_MAX_S, self._called.deadline.seconds)):
                return await self._caller.is_there()
        except TimeoutError:
            return False
        except Exception:
            log.exception("a called service could not be looked for", svc=self.svc)
            return False

    async def _keep_pace(self) -> None:
        """When the pace allows further calls, take them from the queue."""
        while True:
            await self._begun.wait()
            self._begun.clear()
            while not self._pace.room(self._clock.passed()):
                now = self._clock.passed()
                await self._sleep(max(self._pace.room_at(now) - now, PACE_MIN_US))
            self._workers.resize(self.session, self.session.max_in_flight)

    async def _sleep(self, span_us: int) -> None:
        await self._clock.sleep_until(self._clock.now() + span_us)


def _within_ms(until: int, now: int) -> int:
    """How long a service has to complete a step that it deferred until then; a time that is past is over at once."""
    return max(BOUNDS.span_min_ms, min((until - now) // 1000, BOUNDS.span_max_ms))


def _label(outcome: Outcome, under_way: UnderWay) -> str:
    """The outcome as a metric tells it."""
    match outcome:
        case Done():
            return "done"
        case Deferred():
            return "deferred"
        case Failed(is_unreachable=True):
            return "unreachable"
        case Failed():
            return "withdrawn" if under_way.withdrawn else "failed" if outcome.is_permanent else "retryable"
        case _:
            assert_never(outcome)
