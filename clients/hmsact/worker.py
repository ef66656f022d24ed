"""Workers: what an agency runs to do steps."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from types import TracebackType
from typing import Self, TypeVar

from hmsact.connect import Target, Tls, target
from hmsact.errors import HmsactError
from hmsact.hand import Hand, Held
from hmsact.link import Link
from hmsact.perform import Handler, StepFunction, perform, unknown, withdrawn
from hmsact.signals import heard
from hmsact.v1 import worker_pb2

log = logging.getLogger("hmsact.worker")

THREADS_MAX = 10_000

Function = TypeVar("Function", bound=StepFunction)


class Worker:
    """Does the steps of a service, as many at a time as `max_in_flight` says.

        irs = Worker("IRS")

        @irs.step("eligibility_check")
        def eligibility_check(call):
            return {"eligible": call.outputs["validate_form"]["income"] < 60_000}

        irs.run()

    `svc` is the service; the other arguments are those of Orchestrator. A step's function gets a Call and returns a
    JSON value, its output. Plain functions run in threads, `async def` on the loop. StepError says how a step failed;
    any other exception fails it too, and the step's retries apply. Work outlives the connection: when the daemon is
    away, functions go on and what they return is reported once it is back.

    One process runs its workers on one loop: for several of them, `async with fsa, irs:`.
    """

    def __init__(
        self,
        svc: str,
        *,
        token: str | None = None,
        address: str | None = None,
        namespace: str | None = None,
        max_in_flight: int = 32,
        tls: Tls = None,
    ) -> None:
        self.svc = svc
        self._target = target(address, token=token, tls=tls, namespace=namespace)
        self._max_in_flight = _at_least_one(max_in_flight)
        self._handlers: dict[str, Handler] = {}
        self._service: _Service | None = None
        self._group: asyncio.TaskGroup | None = None

    def step(self, name: str) -> Callable[[Function], Function]:
        """Says, as a decorator, that a function does the step `name`. Raises ValueError if another one does."""
        if not isinstance(name, str):
            raise TypeError('a step is named when its function is registered: @worker.step("eligibility_check")')

        def register(function: Function) -> Function:
            if name in self._handlers:
                raise ValueError(f"{self.svc} has two functions for the step {name!r}")
            self._handlers[name] = Handler.of(function)
            return function

        return register

    @property
    def steps(self) -> tuple[str, ...]:
        """The names of the steps it does."""
        return tuple(self._handlers)

    @property
    def max_in_flight(self) -> int:
        """How many calls it takes at a time. May be set while it runs, from its loop."""
        return self._max_in_flight

    @max_in_flight.setter
    def max_in_flight(self, max_in_flight: int) -> None:
        self._max_in_flight = _at_least_one(max_in_flight)
        if self._service is not None:
            self._service.link.resize(max_in_flight)

    def run(self) -> None:
        """Works until SIGTERM or Ctrl-C: then it takes nothing more, finishes what it has, reports it, and returns.

        At a second signal it gives up what it has in hand, which then goes to others, and exits (SystemExit); a plain
        function that is running can't be stopped, and keeps the process until it returns. If the daemon will not have
        this worker, as when the token is wrong, it says why in a line and exits with code 1.

        Where nobody has set logging up, what it has to say goes to standard error.
        """
        if not log.hasHandlers():
            log.addHandler(logging.StreamHandler())
            log.setLevel(logging.INFO)
        try:
            given_up = asyncio.run(self._run_until_signalled())
        except HmsactError as error:
            log.error("%s: %s", self.svc, error)
            sys.exit(1)
        if given_up is not None:
            log.warning("%s was stopped before it had finished", self.svc)
            sys.exit(128 + given_up)

    async def serve(self) -> None:
        """Works until `stop` is called, then finishes what it has in hand, and reports it. Raises as `run` does."""
        if self._service is not None:
            raise RuntimeError(f"the worker of {self.svc} is running already")
        if not self._handlers:
            raise ValueError(f'{self.svc} does no step yet: register a function with @worker.step("name")')
        self._service = _Service(self._target, self.svc, self._handlers, self._max_in_flight)
        try:
            error = await self._service.run()
        finally:
            self._service = None
        if error is not None:
            raise error

    def stop(self) -> None:
        """Takes no further calls. From the worker's loop only."""
        if self._service is not None:
            self._service.link.leave()

    async def __aenter__(self) -> Self:
        self._group = asyncio.TaskGroup()
        await self._group.__aenter__()
        self._group.create_task(self.serve(), name=f"worker {self.svc}")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._group is not None
        group, self._group = self._group, None
        if isinstance(error, Exception):
            # The body has failed, the worker has not: what it has in hand is finished all the same.
            kind = error = trace = None
        try:
            # One turn of the loop, so that a worker that was never given a chance to start can be stopped, too.
            await asyncio.sleep(0)
            self.stop()
            await group.__aexit__(kind, error, trace)
        except BaseExceptionGroup as several:
            raise several.exceptions[0] from None

    async def _run_until_signalled(self) -> int | None:
        """Serves; returns the number of the second signal if there was one."""
        serving = asyncio.current_task()
        assert serving is not None
        given_up: int | None = None

        def signalled(number: int) -> None:
            nonlocal given_up
            if self._service is None or self._service.link.is_leaving:
                given_up = number
                serving.cancel()
            else:
                if self._service.is_busy:
                    log.info("%s finishes what it has in hand", self.svc)
                self.stop()

        with ExitStack() as stack:
            try:
                stack.enter_context(heard(signalled, signal.SIGTERM, signal.SIGINT))
            except (ValueError, NotImplementedError):
                log.debug("signals are handled in the main thread only; call stop() to end this worker")
            try:
                await self.serve()
            except asyncio.CancelledError:
                if given_up is None:
                    raise
        return given_up


class _Service:
    """One run of a worker: its hand, its link, and a task for every call."""

    def __init__(self, target: Target, svc: str, handlers: Mapping[str, Handler], max_in_flight: int) -> None:
        self._handlers = handlers
        self._hand = Hand()
        # Threads are made as calls come, and the daemon sends no more of them than it was told.
        self._threads = ThreadPoolExecutor(THREADS_MAX, thread_name_prefix=f"hmsact {svc} step")
        self._tasks: asyncio.TaskGroup | None = None
        self.link = Link(target, svc, tuple(handlers), max_in_flight, self._hand, self._begin)

    @property
    def is_busy(self) -> bool:
        """True while it has something in hand."""
        return not self._hand.is_empty

    async def run(self) -> HmsactError | None:
        """Works until the link has ended; returns the error it ended with."""
        try:
            async with asyncio.TaskGroup() as tasks:
                self._tasks = tasks
                error = await self.link.run()
                for held in self._hand.working:
                    if held.task is not None:
                        held.task.cancel()
            return error
        finally:
            self._threads.shutdown(wait=False, cancel_futures=True)

    def _begin(self, message: worker_pb2.Call) -> None:
        held = self._hand.take(message)
        if held is None:
            return
        handler = self._handlers.get(message.step)
        if handler is None:
            self._hand.report(held, unknown(message.step))
            return
        assert self._tasks is not None
        name = f"{message.step} of {message.attempt.operation_id}"
        held.is_coroutine = handler.is_coroutine
        held.task = self._tasks.create_task(self._do(handler, held), name=name)
        held.task.add_done_callback(lambda task: self._report_if_withdrawn(task, held))

    async def _do(self, handler: Handler, held: Held) -> None:
        self._hand.report(held, await perform(handler, held.call, self._threads, self.link.output_bytes_max))

    def _report_if_withdrawn(self, task: asyncio.Task[None], held: Held) -> None:
        """The daemon keeps a place for the attempt until it has a report, also of one that was cancelled."""
        if task.cancelled() and held.call.cancelled.is_set():
            self._hand.report(held, withdrawn())


def _at_least_one(max_in_flight: int) -> int:
    if max_in_flight < 1:
        raise ValueError(f"a worker takes at least one call at a time, not {max_in_flight}")
    return max_in_flight
