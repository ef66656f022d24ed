"""What a daemon says about itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from hmsact.plain import time_of
from hmsact.v1 import system_pb2


@dataclass(frozen=True, slots=True)
class SystemInfo:
    """What a daemon is.

    `log` is the origin of its log and `log_size` the number of records in it; `verifier_key` is the key that seals
    it, as a C2SP verifier key. `start_time` and `time` are the daemon's, in UTC. `is_dev` says that it runs with
    --dev. `limits` are the bounds in force, by name.
    """

    version: str
    log: str
    log_size: int
    verifier_key: str
    start_time: datetime
    time: datetime
    is_dev: bool
    limits: Mapping[str, int]


def system_info_of(message: system_pb2.GetSystemInfoResponse) -> SystemInfo:
    """Reads what a daemon is."""
    return SystemInfo(
        version=message.version,
        log=message.log,
        log_size=message.log_size,
        verifier_key=message.verifier_key,
        start_time=time_of(message.start_time),
        time=time_of(message.time),
        is_dev=message.dev,
        limits=dict(message.limits),
    )
