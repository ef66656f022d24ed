"""The client for coroutines, on grpc.aio: the twin of hmsact.client. What it can do is in hmsact.orchestrator."""

from __future__ import annotations

from hmsact.orchestrator.checkpoints import AsyncCheckpoints
from hmsact.orchestrator.deferred import AsyncDeferredSteps
from hmsact.orchestrator.many import AsyncManyOperations
from hmsact.orchestrator.starts import AsyncStarts
from hmsact.orchestrator.steering import AsyncSteering
from hmsact.orchestrator.streams import AsyncStreams
from hmsact.orchestrator.timelines import AsyncTimelines


class AsyncOrchestrator(
    AsyncStarts,
    AsyncSteering,
    AsyncManyOperations,
    AsyncDeferredSteps,
    AsyncCheckpoints,
    AsyncTimelines,
    AsyncStreams,
):
    """Starts operations, watches them and steers them, from coroutines; see Orchestrator.

    Its methods are those of Orchestrator, as coroutines and asynchronous iterators. It connects inside the loop in
    which it is first used and belongs to that loop.
    """
