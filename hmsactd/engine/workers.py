"""Workers as the engine knows them: they join, report, beat, leave, or are gone.

Between hmsactd.rpc, which speaks to them, and hmsactd.engine.dispatch, which gives them calls. A report becomes a
letter to its operation, and the answer a verdict.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence

import structlog

from hmsactd.clock import Clock
from hmsactd.core.events import StepDeferred as Deferred
from hmsactd.core.events import StepDone, StepFailed, StepReportIgnored
from hmsactd.core.inputs import HeartbeatMissed, Input, StepDeferred, StepErred, StepSucceeded, WorkerLost
from hmsactd.core.operation import Operation, StepItem
from hmsactd.core.principal import DAEMON, Principal
from hmsactd.core.rejected import Rejected
from hmsactd.core.transitions import StepState
from hmsactd.engine.dispatch import Dispatch
from hmsactd.engine.ids import fresh_id
from hmsactd.engine.letter import Answer, Post, Told
from hmsactd.engine.session import AttemptKey, Session, Verdict
from hmsactd.engine.tickets import Tickets
from hmsactd.errors import HmsactdError, NotFound, ResourceExhausted, Unavailable
from hmsactd.store.store import Call, Store

log = structlog.get_logger(__name__)

Reported = StepSucceeded | StepErred | StepDeferred
"""What a worker says of an attempt that it has in hand."""

LOOK_EVERY_US = 250_000
"""How often silent attempts and gone sessions are looked for: well below the second a user would notice."""


class Workers:
    """The sessions of all workers, from hello to goodbye."""

    def __init__(
        self,
        store: Store,
        dispatch: Dispatch,
        clock: Clock,
        post: Post,
        grace_us: int,
        sessions_max: int,
        tickets: Tickets,
    ) -> None:
        self._sessions_max = sessions_max
        self._store = store
        self._tickets = tickets
        self._dispatch = dispatch
        self._clock = clock
        self._post = post
        self.grace_us = grace_us
        self._absent: dict[str, list[Call]] = {}
        self._absent_until = 0
        self._to_look_at: dict[tuple[str, str], None] = {}

    # -- coming and going ----------------------------------------------------------------------------------------------

    async def recover(self) -> None:
        """After a restart: sessions that have calls in hand get their grace to come back."""
        after: tuple[str, str] | None = None
        while page := await self._store.calls(after):
            for call in page:
                self._absent.setdefault(call.session, []).append(call)
            after = (page[-1].namespace, page[-1].operation)
        self._absent_until = self._clock.passed() + self.grace_us

    def hello(
        self,
        principal: Principal,
        namespace: str,
        svc: str,
        steps: Collection[str],
        max_in_flight: int,
        ticket: str,
        in_hand: Sequence[AttemptKey],
        of_principal_max: int,
    ) -> tuple[Session, int, list[AttemptKey]]:
        """A worker connects: its session, the number of the connection, and the calls that are no longer its own.

        `ticket` is what `ticket_of` gave it for an earlier session; empty or no longer good, it gets a new one, unless
        the principal has `of_principal_max` sessions.
        """
        named = self._tickets.session_of(ticket, principal, namespace, svc)
        session = self._dispatch.sessions.get(named) if named is not None else None
        if session is None:
            # A session from before a restart goes on under its name; one that was given up does not come back.
            if len(self._dispatch.sessions) >= self._sessions_max:
                raise ResourceExhausted(
                    "SESSIONS_MAX", f"{self._sessions_max} workers have a session, the most allowed"
                )
            if self._of_principal(principal) >= of_principal_max:
                raise ResourceExhausted(
                    "PRINCIPAL_SESSIONS_MAX",
                    f"{principal.id} has {of_principal_max} sessions, the most that one principal may have "
                    "(workers.sessions_per_principal_max)",
                )
            session_id = named if named in self._absent else fresh_id("wrk", self._clock.now())
            session = Session(session_id or "", principal, namespace, svc, steps, max_in_flight)
        elif session.steps != steps:
            self._dispatch.leave(session)
            session.steps = steps
        session.max_in_flight = max_in_flight
        connection = session.connect()
        gone = self._compare(session, dict.fromkeys(in_hand))
        self._dispatch.join(session)
        return session, connection, gone

    def attach(self, session: Session) -> None:
        """A session of the daemon's own, which has one name for ever and no connection that could break.

        What it had in hand before a restart went with the daemon, and is given anew at once.
        """
        session.connect()
        self._compare(session, {})
        self._dispatch.join(session)

    def _of_principal(self, principal: Principal) -> int:
        return sum(session.principal.id == principal.id for session in self._dispatch.sessions.values())

    def ticket_of(self, session: Session) -> str:
        """What a worker shows to take its session up again."""
        return self._tickets.ticket_of(session.id, session.principal, session.namespace, session.svc)

    def _compare(self, session: Session, in_hand: Collection[AttemptKey]) -> list[AttemptKey]:
        """Bring what the session holds into line with what the worker says it has; return what it has in vain."""
        now = self._clock.passed()
        for key in [key for key in session.held if key not in in_hand and not session.is_unsent(key)]:
            # It was sent the call and knows nothing of it.
            del session.held[key]
            self._look_for_call(session.namespace, key.operation_id)
        absent = self._absent.pop(session.id, [])
        back = dict.fromkeys(call.operation for call in absent if call.namespace == session.namespace)
        gone: list[AttemptKey] = []
        for key in in_hand:
            if key in session.held:
                session.held[key].beat_at = now
            elif key.operation_id in back:
                session.hold(key, now)
            elif key not in session.reported:
                gone.append(key)
        for operation_id in back:
            # The last attempt recorded before the restart may never have been sent, whatever else it has in hand.
            self._look_for_call(session.namespace, operation_id)
        return gone

    def goodbye(self, session: Session, connection: int) -> None:
        """A connection has ended. Another may have taken the session over meanwhile."""
        if session.connection != connection:
            return
        # It takes nothing from here on, whoever may still have it in mind.
        session.gone_at = self._clock.passed()
        has_left = session.is_leaving and not session.held and not session.reported
        if has_left or session.is_empty:
            self._dispatch.leave(session)

    def leaving(self, session: Session) -> None:
        """A worker takes no further calls."""
        session.is_leaving = True

    def resize(self, session: Session, max_in_flight: int) -> None:
        """A worker takes another number of calls at a time."""
        session.max_in_flight = max_in_flight
        self._dispatch.pump(session)

    # -- reports -------------------------------------------------------------------------------------------------------

    def report(self, session: Session, key: AttemptKey, told: Reported) -> None:
        """Pass a report on; its verdict follows."""
        if key in session.reported:
            return
        is_held = session.report(key)
        letter: Told = told if is_held else lambda operation: _if_late(operation, told)
        session.asked()
        self._post(
            session.namespace,
            key.operation_id,
            letter,
            lambda outcome: self._judge(session, key, told, is_held, outcome),
        )
        if is_held:
            self._dispatch.pump(session)

    def _judge(
        self,
        session: Session,
        key: AttemptKey,
        told: Reported,
        is_held: bool,
        outcome: Answer | Exception,
        heard: Verdict | None = None,
    ) -> None:
        session.answered()
        match outcome:
            case Answer():
                session.judge(heard or _verdict(key, told, outcome, is_held))
            case NotFound():
                session.judge(Verdict(key, "refused", outcome.reason, str(outcome)))
            case Rejected():
                session.judge(Verdict(key, "refused", outcome.code, str(outcome)))
            case HmsactdError():
                session.judge(Verdict(key, "again", outcome.reason, str(outcome)))
            case _:
                session.judge(Verdict(key, "again", "INTERNAL", "the report could not be recorded"))

    def refuse(self, session: Session, key: AttemptKey, told: StepErred, code: str, reason: str) -> None:
        """A report that cannot be taken as it is: the worker is told why, and the attempt counts as failed for good."""
        refused = Verdict(key, "refused", code, reason)
        if key in session.reported:
            return
        if not session.report(key):
            session.judge(refused)
            return
        session.asked()
        self._post(
            session.namespace,
            key.operation_id,
            told,
            lambda outcome: self._judge(session, key, told, True, outcome, refused),
        )
        self._dispatch.pump(session)

    def beat(self, session: Session, key: AttemptKey) -> None:
        """An attempt is still being worked on."""
        held = session.held.get(key)
        if held is not None:
            held.beat_at = self._clock.passed()

    # -- losses --------------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Look for silent attempts and gone sessions, for ever."""
        while True:
            now = self._clock.passed()
            for session in list(self._dispatch.sessions.values()):
                if session.gone_at is not None and now - session.gone_at >= self.grace_us:
                    self._end(session)
                else:
                    self._look_for_silence(session, now)
            again, self._to_look_at = self._to_look_at, {}
            for namespace, operation_id in again:
                self._look_for_call(namespace, operation_id)
            if self._absent and now >= self._absent_until:
                self._give_up_absent()
            await self._clock.sleep_until(self._clock.now() + LOOK_EVERY_US)

    def _look_for_silence(self, session: Session, now: int) -> None:
        for key, held in session.held.items():
            if held.heartbeat_ms is None or held.is_withdrawn:
                continue
            if now - held.beat_at > held.heartbeat_ms * 1000:
                missed = HeartbeatMissed(DAEMON, key.instance, key.attempt)
                self._post(session.namespace, key.operation_id, missed, None)

    def _end(self, session: Session) -> None:
        """A worker stayed away too long: its calls go to others."""
        self._dispatch.leave(session)
        if session.held:
            log.info("worker lost", svc=session.svc, session=session.id, calls=len(session.held))
        # A report on its way may fail to be recorded; the operation hears it before it looks.
        for key in (*session.held, *session.reported):
            self._look_for_call(session.namespace, key.operation_id)

    def _give_up_absent(self) -> None:
        absent, self._absent = self._absent, {}
        for calls in absent.values():
            for call in calls:
                self._look_for_call(call.namespace, call.operation)

    def connected(self) -> dict[tuple[str, str], int]:
        """How many workers have a session, by (namespace, svc)."""
        return Counter((session.namespace, session.svc) for session in self._dispatch.sessions.values())

    def lose(self, namespace: str, operation_id: str, session_id: str) -> None:
        """The operation awaits a report from a session that does not have the call."""
        if session_id not in self._absent:
            self._look_for_call(namespace, operation_id)

    def _look_for_call(self, namespace: str, operation_id: str) -> None:
        """Let an operation look for the call whose report it awaits: if nobody has it, the attempt is lost."""
        self._post(
            namespace,
            operation_id,
            lambda operation: self._lost(operation_id, operation),
            lambda outcome: self._look_again_if_unheard((namespace, operation_id), outcome),
        )

    def _lost(self, operation_id: str, operation: Operation) -> Input | None:
        """What an operation is told that awaits a report from a session without the call."""
        item = operation.current
        if not isinstance(item, StepItem) or item.state is not StepState.RUNNING or item.session is None:
            return None
        session = self._dispatch.sessions.get(item.session)
        key = AttemptKey(operation_id, item.instance, item.attempt)
        if session is None:
            is_lost = item.session not in self._absent
        elif (held := session.held.get(key)) is not None:
            # Of a call from before a restart the limit was not known until now.
            held.heartbeat_ms = item.definition.heartbeat_ms
            is_lost = False
        else:
            is_lost = key not in session.reported
        return WorkerLost(DAEMON, item.instance, item.attempt) if is_lost else None

    def _look_again_if_unheard(self, place: tuple[str, str], outcome: Answer | Exception) -> None:
        """A loss that could not be recorded is looked for again: nobody else would ever notice it."""
        if isinstance(outcome, Unavailable | ResourceExhausted):
            self._to_look_at[place] = None


def _verdict(key: AttemptKey, told: Reported, answer: Answer, is_held: bool) -> Verdict:
    """What became of a report, by what it led to."""
    for event in answer.events:
        match event:
            case StepDone() | StepFailed() | Deferred() if event.by == told.by and event.attempt == key.attempt:
                return Verdict(key, "recorded")
            case StepReportIgnored():
                reason = f"the operation is {answer.operation.state.value}; the report was kept beside it"
                return Verdict(key, "stale", "OPERATION_FINAL", reason)
            case _:
                pass
    item = answer.operation.item(key.instance)
    if isinstance(item, StepItem) and item.attempt == key.attempt and item.deferred_at is not None:
        if isinstance(told, StepDeferred) and item.worker == told.by.id:
            # Said again, because the worker has not heard that it is on the record.
            return Verdict(key, "recorded")
        return Verdict(key, "stale", "DEFERRED", "the attempt was deferred: it is completed with its token")
    if is_held:
        return Verdict(key, "stale", "ATTEMPT_OVER", "the attempt was over before the report came")
    return Verdict(key, "stale", "NOT_HELD", "this worker does not hold the attempt")


def _if_late(operation: Operation, told: Reported) -> Input | None:
    """A report of an attempt that the worker does not hold counts only as news for an operation that has ended."""
    item = operation.item(told.instance)
    if operation.is_final and isinstance(item, StepItem) and item.worker == told.by.id:
        return told
    return None
