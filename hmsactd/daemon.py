"""The composition root: the only file that knows all parts. Opens them in order, and closes them in reverse.

Recovery is opening: what was recorded is what there is. The daemon is ready when its sessions and clocks are found.
"""

from __future__ import annotations

import asyncio
import gc
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import anyio

from hmsactd import logs
from hmsactd.clock import Clock, SettableClock, SystemClock
from hmsactd.engine.engine import Engine, Limits
from hmsactd.engine.requests import Requests
from hmsactd.engine.tickets import Tickets
from hmsactd.engine.tokens import Tokens
from hmsactd.errors import StartRefused, Stopped
from hmsactd.guard import Files, Guard
from hmsactd.health import Health
from hmsactd.http import app as http_app
from hmsactd.http.admission import admitting
from hmsactd.http.readiness import Readiness
from hmsactd.http.server import HttpServer, address_of, bind
from hmsactd.identity.build import SignIn, sign_in
from hmsactd.identity.identity import Identity, development
from hmsactd.identity.permissions import METRICS_READ
from hmsactd.jobs import jobs as all_jobs
from hmsactd.jobs.jobs import Jobs
from hmsactd.jobs.run import Parts
from hmsactd.machine import descriptors, memory
from hmsactd.machine.addresses import leads_elsewhere
from hmsactd.machine.jumps import Jumps
from hmsactd.machine.signals import received
from hmsactd.metrics.metrics import Metrics
from hmsactd.rpc.desk import Desk
from hmsactd.rpc.permissions import permission_table
from hmsactd.rpc.server import GrpcServer
from hmsactd.services.service import PayloadLimits
from hmsactd.services.services import Services
from hmsactd.settings.settings import Settings
from hmsactd.settings.values import Address
from hmsactd.store.condition import Condition
from hmsactd.store.errors import DataRefused, Fenced
from hmsactd.store.errors import Unavailable as StoreUnavailable
from hmsactd.store.lock import held
from hmsactd.store.look import refuse_damaged
from hmsactd.store.memory import MemoryStore
from hmsactd.store.sqlite import DATABASE_FILE, SqliteStore
from hmsactd.store.store import Store, Summary
from hmsactd.timeline.incarnation import Outside
from hmsactd.timeline.keys import Keys, check_name, fresh_keys, keep_name, load_keys
from hmsactd.timeline.outside import OutsideSeal
from hmsactd.timeline.soundness import last_recorded_at
from hmsactd.timeline.timeline import Timelines

log = logs.logger(__name__)

VERSION = version("hmsactd")

CLOCK_BEHIND_US = 60_000_000
"""A clock that is this much behind the last record at a start is wrong now, or was then."""


@dataclass(frozen=True, slots=True)
class Running:
    """Where a daemon that is ready can be reached, and by which key its log is known."""

    grpc: Address
    mutual: Address | None
    http: Address
    log: str
    verifier_key: str


def run(settings: Settings, ready: Callable[[Running], None], *, is_rollback_accepted: bool = False) -> None:
    """Run a daemon until SIGTERM or SIGINT; `ready` is called once it serves. Raises `StartRefused` and `Stopped`."""
    descriptors.raise_limit()
    # An operation in flight is a few hundred objects and no cycle. The default thresholds look for cycles among them
    # every few operations, which took a sixth of the time; once everything is loaded it need not be looked at again.
    gc.set_threshold(50_000, 20, 50)
    gc.freeze()
    try:
        anyio.run(_run, settings, ready, is_rollback_accepted)
    except* (StartRefused, DataRefused) as group:
        raise StartRefused(str(_first(group))) from None
    except* StoreUnavailable as group:
        # Callers are answered one by one; what comes up here has kept the daemon from recovering.
        raise StartRefused(f"the data can't be read: {_first(group)}") from None
    except* Fenced:
        raise Stopped(
            "another process has written to the log: find it, and let nothing but one hmsactd use the data directory"
        ) from None
    except* Stopped as group:
        raise Stopped(str(_first(group))) from None


async def _run(settings: Settings, ready: Callable[[Running], None], is_rollback_accepted: bool) -> None:
    with received(signal.SIGTERM, signal.SIGINT) as signals:
        async with serving(settings, is_rollback_accepted) as (running, condition):
            ready(running)
            async with anyio.create_task_group() as either:
                either.start_soon(_until_broken, condition, either.cancel_scope, name="until broken")
                log.info("stopping", signal=(await signals.get()).name)
                either.cancel_scope.cancel()
    if condition.broken.is_set():
        # Every request under way has been answered by now, and nothing was written since it was found out.
        raise Stopped(
            f"stopped, because the data can't be trusted any more: {condition.trouble}. What was acknowledged before "
            "is in the data directory or in its last backup: copy it, run `hmsactd doctor --full` on it, restore if "
            "that finds damage, and look at the disk before you start again"
        )


async def _until_broken(condition: Condition, scope: anyio.CancelScope) -> None:
    await condition.broken.wait()
    scope.cancel()


@asynccontextmanager
async def serving(settings: Settings, is_rollback_accepted: bool = False) -> AsyncIterator[tuple[Running, Condition]]:
    """A daemon that serves while the context lasts, and drains when it ends."""
    clock: Clock = SettableClock() if settings.test_clock else SystemClock()
    mutual = [settings.grpc.mutual.listen] if settings.grpc.mutual is not None else []
    for address in (settings.grpc.listen, settings.http.listen, *mutual):
        _refuse_a_name_that_leads_elsewhere(address)
    signed_in = _sign_in(settings, clock)
    identity = signed_in.identity
    metrics = Metrics(clock)
    readiness = Readiness()
    async with AsyncExitStack() as stack:
        http_socket = bind(settings.http.listen)
        stack.callback(http_socket.close)
        store, keys = _open_data(settings, stack)
        outside = OutsideSeal(settings.timeline.outside_seals) if settings.timeline.outside_seals else None
        held_against = Outside(outside, is_rollback_accepted, clock.now())
        timelines = await Timelines.open(store, keys, metrics.committed, held_against)
        tasks = await stack.enter_async_context(anyio.create_task_group())
        stack.push_async_callback(timelines.close)
        if settings.data.store != "memory":
            keep_name(settings.data.directory, timelines.origin)
        await _compare_clock(clock, store, timelines)
        tasks.start_soon(timelines.run, name="committer")
        engine = _engine(settings, store, keys, timelines, clock, identity, metrics)
        services = _services(settings, engine, clock, metrics)
        advance = (lambda by_us: engine.advance(clock, by_us)) if isinstance(clock, SettableClock) else None
        requests = Requests(store, timelines)
        places = asyncio.Semaphore(settings.jobs.in_flight_max)
        jobs = _jobs(settings, Parts(engine, store, timelines, requests, clock, identity, metrics.jobs, places))
        desk = Desk(settings, settings.bounds.bounds(), clock, identity, store, timelines, engine, requests, jobs)
        server = GrpcServer(settings.grpc, desk, metrics.rpc_ended, VERSION, advance, settings.has_reflection)
        http_files = settings.http.files
        admit = http_app.everybody if settings.http.listen.is_loopback else admitting(identity, METRICS_READ)
        pages = http_app.build(metrics, readiness, admit)
        http = HttpServer(pages, settings.shutdown.grace, http_files)
        await _count_what_is_kept(metrics, store)
        _watch(metrics, settings, store, engine, server, readiness)
        metrics.watched.watch_jobs(jobs.open_counts)
        tasks.start_soon(http.serve, http_socket, name="http")
        if http_files is not None:
            tasks.start_soon(http.renew, http_files, name="http certificate")
        await tasks.start(engine.run, name="engine")
        tasks.start_soon(services.run, name="called services")
        tasks.start_soon(jobs.run, name="jobs")
        for watch in signed_in.watches:
            tasks.start_soon(watch, name="who may sign in")
        grpc_address, mutual_address = await server.start()
        await server.ready()
        readiness.ready()
        health = Health(store.condition, readiness, server)
        tasks.start_soon(health.run, name="health")
        tasks.start_soon(_guard(settings, store, engine, metrics).run, name="guard")
        if outside is not None:
            tasks.start_soon(outside.run, lambda: timelines.last_seal, name="outside seal")
        if not settings.dev and not settings.identity.lets_somebody_in:
            log.warning("nobody can sign in: see [identity] in the settings")
        running = Running(
            grpc_address, mutual_address, address_of(http_socket), timelines.origin, timelines.verifier_key
        )
        log.info("ready", grpc=str(running.grpc), http=str(running.http), log=running.log, epoch=timelines.epoch)
        try:
            yield running, store.condition
        finally:
            with anyio.CancelScope(shield=True):
                health.stop()
                readiness.unready("stopping")
                services.leave()
                await server.stop(settings.shutdown.grace.seconds / 2)
                await services.idle(settings.shutdown.grace.seconds / 4)
                await jobs.stop()
                await engine.stop()
                await timelines.close()
                if outside is not None:
                    await outside.keep(timelines.last_seal)
                http.stop()
                await http.ended()
            tasks.cancel_scope.cancel()
            log.info("stopped")


def _refuse_a_name_that_leads_elsewhere(address: Address) -> None:
    """What was taken for this machine's own, by its name, must be."""
    if not address.is_loopback:
        return
    try:
        elsewhere = leads_elsewhere(address.host)
    except OSError as error:
        raise StartRefused(f"{address.host} leads nowhere: {error.strerror or error}") from error
    if elsewhere:
        raise StartRefused(f"{address.host} leads to {', '.join(elsewhere)}, where others are: say 127.0.0.1")


def _sign_in(settings: Settings, clock: Clock) -> SignIn:
    if settings.dev:
        return SignIn(development())
    data = None if settings.data.store == "memory" else settings.data.directory
    return sign_in(settings.identity, data, clock)


def _open_data(settings: Settings, stack: AsyncExitStack) -> tuple[Store, Keys]:
    """The store and the keys, held for as long as the stack lives."""
    if settings.data.store == "memory":
        return MemoryStore(), fresh_keys()
    directory = Path(settings.data.directory)
    stack.enter_context(held(directory))
    database = directory / DATABASE_FILE
    check_name(directory, database)
    keys = load_keys(directory, may_make=not database.exists())
    refuse_damaged(database)
    return SqliteStore(database), keys


def _engine(
    settings: Settings,
    store: Store,
    keys: Keys,
    timelines: Timelines,
    clock: Clock,
    identity: Identity,
    metrics: Metrics,
) -> Engine:
    limits = Limits(
        idle_us=settings.engine.idle.us,
        mailbox_max=settings.engine.mailbox_max,
        grace_us=settings.workers.grace.us,
        completion_us=settings.workers.completion.us,
        unattended_us=settings.defaults.unattended.us,
        sessions_max=settings.workers.sessions_max,
        open_operations_max=settings.bounds.open_operations_per_namespace_max,
    )
    return Engine(store, timelines, clock, identity, metrics, limits, Tickets(keys.payload), Tokens(keys.payload))


def _jobs(settings: Settings, parts: Parts) -> Jobs:
    said = settings.jobs
    limits = all_jobs.Limits(settings.bounds.open_jobs_per_namespace_max, said.keep.us, said.kept_max)
    return Jobs(parts, limits)


def _guard(settings: Settings, store: Store, engine: Engine, metrics: Metrics) -> Guard:
    files = None
    if settings.data.store != "memory":
        directory = settings.data.directory
        files = Files(directory, directory / DATABASE_FILE, settings.store.free_bytes_min)
    bounds = memory.limits(settings.engine.memory_max_bytes)
    return Guard(files, bounds, store.condition, engine.intake, metrics.clock_jumped, Jumps())


async def _compare_clock(clock: Clock, store: Store, timelines: Timelines) -> None:
    """Says so if the clock is behind what was recorded last: due times are dates, and would come late."""
    last = await last_recorded_at(store, timelines.size)
    if last is not None and (behind_us := last - clock.now()) > CLOCK_BEHIND_US:
        log.error(
            "the clock is behind the last record: set it right, as what is due comes that much too late; no event is "
            "dated before those of its operation",
            behind_seconds=round(behind_us / 1e6),
        )


def _services(settings: Settings, engine: Engine, clock: Clock, metrics: Metrics) -> Services:
    bounds = settings.bounds
    limits = PayloadLimits(bounds.payload_max_bytes, bounds.depth_max, bounds.comment_max_bytes)
    return Services(settings.services, engine, clock, metrics.called, limits, f"hmsactd/{VERSION}")


async def _count_what_is_kept(metrics: Metrics, store: Store) -> None:
    """Gauges begin with what the store holds; from then on they follow what is recorded."""
    alarmed: list[Summary] = []
    after: tuple[str, str] | None = None
    while page := await store.alarmed(after):
        alarmed += page
        after = (page[-1].namespace, page[-1].operation)
    metrics.restore(await store.tallies(), alarmed, await store.pending_sizes())
    metrics.learn_rpcs(permission_table())


def _watch(
    metrics: Metrics, settings: Settings, store: Store, engine: Engine, server: GrpcServer, readiness: Readiness
) -> None:
    """Who is asked at a scrape."""
    watched = metrics.watched
    watched.watch_queues(store.queue_sizes)
    watched.watch_workers(engine.workers.connected)
    watched.watch_pending(store.pending_sizes)
    watched.watch_streams(lambda: server.timelines.stream_count)
    watched.watch_lag(lambda: server.timelines.lag_max)
    watched.watch_ready(lambda: readiness.is_ready)
    if settings.data.store != "memory":
        watched.watch_data(Path(settings.data.directory))


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    inner = group.exceptions[0]
    return _first(inner) if isinstance(inner, BaseExceptionGroup) else inner
