"""The daemon: its parts put together as `hmsactd.daemon` does, over the simulated disk, behind the simulated wire.

What is left out belongs to the machine: sockets, HTTP, the guard over memory and disk, services that the daemon calls.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

import anyio
import grpc
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from grpc.aio import AbortError

from hmsactd import daemon
from hmsactd.engine.engine import Engine
from hmsactd.engine.requests import Requests
from hmsactd.identity.identity import development
from hmsactd.jobs.jobs import Jobs
from hmsactd.jobs.run import Parts
from hmsactd.metrics.metrics import Metrics
from hmsactd.rpc.desk import Desk
from hmsactd.rpc.interceptor import Interceptor
from hmsactd.rpc.patience import Patience
from hmsactd.rpc.permissions import caller_table, permission_table
from hmsactd.rpc.server import add_servicers
from hmsactd.rpc.streams import Streams
from hmsactd.settings.settings import Settings
from hmsactd.store.errors import Unavailable
from hmsactd.timeline.keys import Keys
from hmsactd.timeline.timeline import Timelines
from tests.sim.clock import SimulatedClock
from tests.sim.disk import Disk
from tests.sim.wire import Call, Context, RpcError, Wire, unavailable

PERMISSIONS = permission_table()
CALLERS = caller_table()
ENDS_WITHIN_S = 5
"""How long what is left of a dead process may go on falling apart. It does so at once, or hangs."""


class Servicers:
    """In the place of a gRPC server: takes down which handler is for which RPC."""

    def __init__(self) -> None:
        self.handlers: dict[str, Any] = {}

    def add_generic_rpc_handlers(self, _: object) -> None:
        """The same handlers again, in gRPC's older way."""

    def add_registered_method_handlers(self, service: str, handlers: dict[str, Any]) -> None:
        self.handlers |= {f"/{service}/{name}": handler for name, handler in handlers.items()}


class OperationMetrics(Metrics):
    """The metrics but for those of requests, which are thousands of series and a sixth of a short life."""

    def learn_rpcs(self, rpcs: Iterable[str]) -> None:
        """Nothing to learn."""

    def rpc_ended(self, rpc: str, code: str, seconds: float) -> None:
        """Nothing to count."""


class Tower:
    """One process of the daemon after the other."""

    def __init__(self, disk: Disk, wire: Wire, clock: SimulatedClock, settings: Settings, key: bytes) -> None:
        self.disk = disk
        self.clock = clock
        self.settings = settings
        self.keys = Keys(Ed25519PrivateKey.from_private_bytes(key), key[::-1])
        self.identity = development()
        self.is_up = False
        self.died = asyncio.Event()
        self.lives = 0
        self.faults: list[str] = []
        self.engine: Engine
        self.jobs: Jobs
        self.timelines: Timelines
        self.patience: Patience
        self._wire = wire
        self._life: asyncio.Task[None] | None = None
        self._calls: dict[Call, None] = {}
        wire.accept = self._accept

    # -- life ----------------------------------------------------------------------------------------------------------

    async def start(self) -> bool:
        """Start a process; False if it could not, or died on the way."""
        self.died.clear()
        self.lives += 1
        is_ready = asyncio.Event()
        life = self._life = asyncio.get_running_loop().create_task(self._live(is_ready), name=f"daemon {self.lives}")
        life.add_done_callback(lambda _: self._ended(life, is_ready))
        await is_ready.wait()
        if life.done() or self.died.is_set():
            # Cancelled, or the store did not answer: as a daemon that exits with an error, or is killed on its way up.
            if not self.died.is_set():
                self.kill()
            return False
        self.is_up = True
        return True

    def _ended(self, life: asyncio.Task[None], is_ready: asyncio.Event) -> None:
        is_ready.set()
        if not life.cancelled() and (error := life.exception()) is not None:
            self.faults.append(f"the daemon ended by itself: {error!r} {getattr(error, 'exceptions', '')}")

    async def _live(self, is_ready: asyncio.Event) -> None:
        try:
            await self._serve(is_ready)
        except* Unavailable:
            # What kept it from recovering, as `hmsactd.daemon.run` has it; once it serves, callers get such errors.
            if is_ready.is_set():
                raise

    async def _serve(self, is_ready: asyncio.Event) -> None:
        store = self.disk.mount()
        metrics = OperationMetrics(self.clock)
        timelines = self.timelines = await Timelines.open(store, self.keys, metrics.committed)
        async with anyio.create_task_group() as tasks:
            await daemon._compare_clock(self.clock, store, timelines)
            tasks.start_soon(timelines.run, name="committer")
            engine = self.engine = daemon._engine(
                self.settings, store, self.keys, timelines, self.clock, self.identity, metrics
            )
            requests = Requests(store, timelines)
            bounds = self.settings.bounds.bounds()
            places = asyncio.Semaphore(self.settings.jobs.in_flight_max)
            parts = Parts(engine, store, timelines, requests, self.clock, self.identity, metrics.jobs, places)
            jobs = self.jobs = daemon._jobs(self.settings, parts)
            desk = Desk(self.settings, bounds, self.clock, self.identity, store, timelines, engine, requests, jobs)
            await daemon._count_what_is_kept(metrics, store)
            await tasks.start(engine.run, name="engine")
            tasks.start_soon(jobs.run, name="jobs")
            self.patience = Patience()
            self._wire.handlers = await self._handlers(desk, metrics)
            is_ready.set()

    async def _handlers(self, desk: Desk, metrics: Metrics) -> dict[str, Any]:
        """Every RPC behind the daemon's own interceptor."""
        servicers: Any = Servicers()
        said = self.settings.grpc
        streams = Streams(desk.bounds.streams_per_principal_max, said.streams_max)
        add_servicers(servicers, desk, self.patience, streams, "simulated", None)
        interceptor = Interceptor(self.identity, PERMISSIONS, CALLERS, metrics.rpc_ended, said.requests_max, streams)
        return {rpc: interceptor._guard(rpc, handler) for rpc, handler in servicers.handlers.items()}

    def kill(self) -> None:
        """As by SIGKILL, here and now: nothing that the process does from here on reaches anybody."""
        store = self.disk.store
        if store is not None:
            store.die()
        self.is_up = False
        self._wire.handlers = None
        self.died.set()
        for call in list(self._calls):
            call.task.cancel()
            if not call.ended.done():
                call.ended.set_exception(unavailable("the connection is gone"))
        if self._life is not None:
            self._life.cancel()

    async def buried(self) -> None:
        """Return when nothing of a dead process is left; what does not go is noted."""
        tasks = [task for task in (self._life, *(call.task for call in self._calls)) if task is not None]
        _, left = await asyncio.wait(tasks, timeout=ENDS_WITHIN_S) if tasks else ((), ())
        self.faults += [f"{task.get_name()} outlives its process" for task in left]
        self._life = None

    async def stop(self) -> None:
        """As by SIGTERM: in the order of `hmsactd.daemon.serving`."""
        self._wire.handlers = None
        self.patience.stop()
        await self._end_calls(self.settings.shutdown.grace.seconds / 2)
        await self.jobs.stop()
        await self.engine.stop()
        await self.timelines.close()
        self.kill()

    async def _end_calls(self, grace_s: float) -> None:
        for tasks in ([call.task for call in self._calls],) * 2:
            if tasks:
                _, left = await asyncio.wait(tasks, timeout=grace_s)
                for task in left:
                    task.cancel()

    # -- calls ---------------------------------------------------------------------------------------------------------

    def _accept(self, rpc: str, serve: Callable[[Context], Any], context: Context) -> Call:
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[Any] = loop.create_future()
        # Whoever called may have left by then.
        ended.add_done_callback(lambda future: future.cancelled() or future.exception())
        call = Call(loop.create_task(self._served(serve, context, ended), name=f"daemon {rpc}"), ended)
        self._calls[call] = None
        call.task.add_done_callback(lambda _: self._calls.pop(call, None))
        return call

    async def _served(self, serve: Callable[[Context], Any], context: Context, ended: asyncio.Future[Any]) -> None:
        try:
            answer = await serve(context)
        except AbortError:
            code = context.code()
            assert code is not None
            self._end(ended, RpcError(code, context.details))
        except asyncio.CancelledError:
            self._end(ended, RpcError(grpc.StatusCode.CANCELLED, "the call was cancelled"))
            raise
        else:
            if not ended.done():
                ended.set_result(answer)

    def _end(self, ended: asyncio.Future[Any], error: RpcError) -> None:
        if not ended.done():
            ended.set_exception(error)
