"""The blocking client, on gRPC's synchronous stack. What it can do is in hmsact.orchestrator, topic by topic."""

from __future__ import annotations

from hmsact.orchestrator.checkpoints import Checkpoints
from hmsact.orchestrator.deferred import DeferredSteps
from hmsact.orchestrator.many import ManyOperations
from hmsact.orchestrator.starts import Starts
from hmsact.orchestrator.steering import Steering
from hmsact.orchestrator.streams import Streams
from hmsact.orchestrator.timelines import Timelines


class Orchestrator(Starts, Steering, ManyOperations, DeferredSteps, Checkpoints, Timelines, Streams):
    """Starts operations, watches them and steers them.

    `address` is the daemon's HOST:PORT (else HMSACT_ADDRESS, else 127.0.0.1:7400). `token` says who is calling (else
    HMSACT_TOKEN; "" is nobody in particular). `tls` says how the connection is encrypted: None is everywhere but on
    this machine; or True, False, the path of a PEM file of authorities (else HMSACT_CA), or gRPC's channel credentials.
    `namespace` is where to work (else HMSACT_NAMESPACE, else "default"), and `timeout` bounds one call.

    It connects when it is first used, may be used from several threads, and repeats a call that does not reach the
    daemon; calls that change something carry a request id, so that a repeat is never a second time. Lengths of time are
    texts ("500ms", "2m", "1h30m"), timedeltas or, for timeouts, numbers of seconds. Wherever an operation is asked
    for, its id will do. Errors are those of hmsact.errors: Unavailable, Unauthenticated, Refused and DeadlineExceeded
    from any call, others where they are named.
    """
