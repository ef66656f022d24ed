"""The SDK: start operations, watch them, decide, serve steps, and verify timelines.

What is listed here is the public API. Every name is fetched when it is first used, so that `import hmsact` costs
nothing: a script that only builds a flow never loads gRPC.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hmsact.account import Account
    from hmsact.aio import AsyncOrchestrator
    from hmsact.call import Call, StepError
    from hmsact.client import Orchestrator
    from hmsact.errors import (
        Aborted,
        AlreadyExists,
        DeadlineExceeded,
        HmsactError,
        InternalError,
        InvalidArgument,
        NotFound,
        NotProved,
        PreconditionFailed,
        Refused,
        ResourceExhausted,
        Unauthenticated,
        Unavailable,
        Unimplemented,
        Violation,
    )
    from hmsact.event import Event
    from hmsact.flow import Checkpoint, Step
    from hmsact.inbox import Pending, Shown
    from hmsact.job import AsyncJob, Job, JobResult
    from hmsact.many import Start, StartResult
    from hmsact.operation import AsyncOperation, Operation
    from hmsact.principal import Identity, Principal
    from hmsact.recorded import CompletedStep, Receipt, Recorded
    from hmsact.stream import AsyncEventStream, EventStream
    from hmsact.system import SystemInfo
    from hmsact.timeline import Line
    from hmsact.worker import Worker

__version__ = "0.1.0"

_HOMES = {
    "account": ("Account",),
    "aio": ("AsyncOrchestrator",),
    "call": ("Call", "StepError"),
    "client": ("Orchestrator",),
    "errors": (
        "Aborted",
        "AlreadyExists",
        "DeadlineExceeded",
        "HmsactError",
        "InternalError",
        "InvalidArgument",
        "NotFound",
        "NotProved",
        "PreconditionFailed",
        "Refused",
        "ResourceExhausted",
        "Unauthenticated",
        "Unavailable",
        "Unimplemented",
        "Violation",
    ),
    "event": ("Event",),
    "flow": ("Checkpoint", "Step"),
    "inbox": ("Pending", "Shown"),
    "job": ("AsyncJob", "Job", "JobResult"),
    "many": ("Start", "StartResult"),
    "operation": ("AsyncOperation", "Operation"),
    "principal": ("Identity", "Principal"),
    "recorded": ("CompletedStep", "Receipt", "Recorded"),
    "stream": ("AsyncEventStream", "EventStream"),
    "system": ("SystemInfo",),
    "timeline": ("Line",),
    "worker": ("Worker",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Aborted",
    "Account",
    "AlreadyExists",
    "AsyncEventStream",
    "AsyncJob",
    "AsyncOperation",
    "AsyncOrchestrator",
    "Call",
    "Checkpoint",
    "CompletedStep",
    "DeadlineExceeded",
    "Event",
    "EventStream",
    "HmsactError",
    "Identity",
    "InternalError",
    "InvalidArgument",
    "Job",
    "JobResult",
    "Line",
    "NotFound",
    "NotProved",
    "Operation",
    "Orchestrator",
    "Pending",
    "PreconditionFailed",
    "Principal",
    "Receipt",
    "Recorded",
    "Refused",
    "ResourceExhausted",
    "Shown",
    "Start",
    "StartResult",
    "Step",
    "StepError",
    "SystemInfo",
    "Unauthenticated",
    "Unavailable",
    "Unimplemented",
    "Violation",
    "Worker",
]


def __getattr__(name: str) -> Any:
    """Fetches a public name from the module it lives in (PEP 562)."""
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"hmsact.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Lists the public names, fetched or not."""
    return sorted({*globals(), *__all__})
