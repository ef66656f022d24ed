"""A worker that speaks to the engine as hmsactd.rpc does for a real one: it keeps what is not known to be recorded."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from hmsactd.core.inputs import StepDeferred, StepErred, StepSucceeded
from hmsactd.engine.session import AttemptKey, Call, Session, Verdict
from hmsactd.timeline.payloads import commit, commit_words
from tests.core.dialogue import service
from tests.engine.world import SPACE, World


@dataclass(frozen=True, slots=True)
class Failed:
    """What a step's function raises."""

    code: str = "BUSY"
    is_permanent: bool = False


@dataclass(frozen=True, slots=True)
class Later:
    """What a step's function returns that defers it."""

    within_ms: int | None = None


Outcome = bytes | Failed | Later
Work = Callable[[Call], Outcome | None]
"""What a step's function returns: its output, or how it failed, or None while it has not finished."""


def does(call: Call) -> bytes:
    return b'{"done":"%s"}' % call.step.encode()


def in_turn(*outcomes: Outcome) -> Work:
    """A function that returns one after the other."""
    left = iter(outcomes)
    return lambda _: next(left)


class Hands:
    """One worker. Its session, what it has in hand, and every verdict it was given."""

    def __init__(
        self, world: World, svc: str = "Svc", *steps: str, work: Work | None = does, max_in_flight: int = 100
    ) -> None:
        self.world = world
        self.svc = svc
        self.steps = frozenset(steps)
        self.max_in_flight = max_in_flight
        self.work = work
        self.principal = service(svc)
        self.session: Session
        self.connection = 0
        self.in_hand: dict[AttemptKey, Call] = {}
        self.calls: list[Call] = []
        self.unacknowledged: dict[AttemptKey, Outcome] = {}
        self.verdicts: list[Verdict] = []
        self.withdrawn: list[tuple[AttemptKey, str]] = []
        self.ticket = ""

    def connect(self) -> Hands:
        """Say hello, with what is in hand; go on where it was."""
        self.session, self.connection, gone = self.world.engine.workers.hello(
            self.principal,
            SPACE,
            self.svc,
            self.steps,
            self.max_in_flight,
            self.ticket,
            list(self.in_hand),
            of_principal_max=1_000,
        )
        self.ticket = self.world.engine.workers.ticket_of(self.session)
        for key in gone:
            self._let_go(key)
        for key in list(self.unacknowledged):
            self._send(key)
        _ = self.world.do(self._listen(self.session, self.connection))
        return self

    def _let_go(self, key: AttemptKey) -> None:
        # What has been done is reported all the same: it may have moved money.
        if key not in self.unacknowledged:
            self.in_hand.pop(key, None)

    def hang_up(self) -> None:
        """The connection is gone; the process lives on."""
        connection, self.connection = self.connection, -1
        self.world.engine.workers.goodbye(self.session, connection)

    def die(self) -> None:
        """The process is gone, with all it had."""
        self.hang_up()
        self.in_hand.clear()
        self.unacknowledged.clear()
        self.ticket = ""

    def leave(self) -> None:
        """Take nothing more, and go with empty hands."""
        self.world.engine.workers.leaving(self.session)

    async def _listen(self, session: Session, connection: int) -> None:
        while True:
            await session.news()
            if session is not self.session or connection != self.connection or session.connection != connection:
                return
            outbox = session.take_outbox()
            for verdict in outbox.verdicts:
                await self._judged(verdict)
            for key, code in outbox.withdrawn:
                self.withdrawn.append((key, code))
            for call in outbox.calls:
                self._begin(call)

    async def _judged(self, verdict: Verdict) -> None:
        self.verdicts.append(verdict)
        if verdict.kind != "again":
            self.unacknowledged.pop(verdict.key, None)
            self.in_hand.pop(verdict.key, None)
        elif verdict.key in self.unacknowledged:
            _ = self.world.do(self._send_later(verdict.key, self.connection))

    async def _send_later(self, key: AttemptKey, connection: int) -> None:
        await self.world.clock.sleep_until(self.world.clock.now() + 500_000)
        if connection == self.connection and key in self.unacknowledged:
            self._send(key)

    def _begin(self, call: Call) -> None:
        if call.key in self.in_hand:
            return
        self.in_hand[call.key] = call
        self.calls.append(call)
        outcome = self.work(call) if self.work is not None else None
        if outcome is not None:
            self.finish(call.key, outcome)

    def finish(self, key: AttemptKey, outcome: Outcome = b"{}") -> None:
        """A step's function has returned."""
        self.unacknowledged[key] = outcome
        self._send(key)

    def finish_all(self, outcome: Outcome = b"{}") -> None:
        for key in list(self.in_hand):
            if key not in self.unacknowledged:
                self.finish(key, outcome)

    def _send(self, key: AttemptKey) -> None:
        if self.connection < 0:
            return
        told: StepSucceeded | StepErred | StepDeferred
        match self.unacknowledged[key]:
            case Failed(code, is_permanent):
                words = commit_words("it was busy")
                told = StepErred(self.principal, key.instance, key.attempt, code, is_permanent, words)
            case Later(within_ms):
                told = StepDeferred(self.principal, key.instance, key.attempt, within_ms)
            case output:
                told = StepSucceeded(self.principal, key.instance, key.attempt, commit(output))
        self.world.engine.workers.report(self.session, key, told)

    def beat(self, keys: Iterable[AttemptKey] | None = None) -> None:
        for key in list(self.in_hand if keys is None else keys):
            self.world.engine.workers.beat(self.session, key)

    def told(self, kind: str) -> list[AttemptKey]:
        """The attempts about which it was told this."""
        return [verdict.key for verdict in self.verdicts if verdict.kind == kind]
