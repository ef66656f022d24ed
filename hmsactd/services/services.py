"""All called services of a daemon: made from the settings, run together, ended together."""

from __future__ import annotations

import random
from collections.abc import Mapping

import anyio

from hmsactd.clock import Clock
from hmsactd.engine.engine import Engine
from hmsactd.errors import StartRefused
from hmsactd.services.breaker import Breaker
from hmsactd.services.caller import Caller
from hmsactd.services.credentials import Credentials, credentials_of
from hmsactd.services.grpc_call import GrpcCaller
from hmsactd.services.https import HttpsCaller
from hmsactd.services.service import CalledService, Observer, PayloadLimits
from hmsactd.settings.called import Called

ROUND_AN_OUTPUT_BYTES = 64 * 1024
"""What an answer may have beside the output: a message around it, or a problem instead."""


class Services:
    """Made before the engine runs, which then keeps one queue for each service that is called for every step."""

    def __init__(
        self,
        called: Mapping[str, Called],
        engine: Engine,
        clock: Clock,
        observer: Observer,
        limits: PayloadLimits,
        agent: str,
    ) -> None:
        """Raises `StartRefused` with everything that is wrong with files and secrets."""
        credentials = _credentials(called)
        self._services: list[CalledService] = []
        # Not for secrets: so that what failed together does not come back together.
        chance = random.Random()  # noqa: S311
        for svc, one in called.items():
            if not one.steps:
                engine.dispatch.serve_every_step(one.namespace, svc)
            caller = _caller(svc, one, credentials[svc], clock, limits.bytes_max + ROUND_AN_OUTPUT_BYTES, agent)
            breaker = Breaker(one.failures_max, one.pause.us, one.pause_max.us, chance)
            service = CalledService(svc, one, caller, breaker, engine.workers, clock, observer, limits)
            self._services.append(service)

    async def run(self) -> None:
        """Call, until cancelled."""
        async with anyio.create_task_group() as tasks:
            for service in self._services:
                tasks.start_soon(service.run, name=f"service {service.svc}")

    def leave(self) -> None:
        """Begin no further call."""
        for service in self._services:
            service.leave()

    async def idle(self, within_s: float) -> None:
        """Return when no call is under way, or after a time: what is cut off then is called again after the start."""
        with anyio.move_on_after(within_s):
            for service in self._services:
                await service.idle()


def _credentials(called: Mapping[str, Called]) -> dict[str, Credentials]:
    found: dict[str, Credentials] = {}
    faults: list[str] = []
    for svc, one in called.items():
        its_faults: list[str] = []
        found[svc] = credentials_of(one, its_faults)
        faults += [f"services.{svc}.{fault}" for fault in its_faults]
    if faults:
        raise StartRefused("; ".join(faults))
    return found


def _caller(
    svc: str, called: Called, credentials: Credentials, clock: Clock, answer_max_bytes: int, agent: str
) -> Caller:
    if called.is_grpc:
        return GrpcCaller(called, credentials.channel, clock, answer_max_bytes, agent)
    return HttpsCaller(svc, called, credentials.tls, credentials.secrets, clock, answer_max_bytes, agent)
