"""Bounds and pages of the daemon, made so small that few operations reach them: full queues, second pages, refusals."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from hmsactd.engine import dispatch, engine, session, timers
from hmsactd.rpc import timelines as rpc_timelines
from hmsactd.timeline import committer, timeline, waking

SMALL: tuple[tuple[ModuleType, str, int], ...] = (
    (dispatch, "QUEUE_MAX", 1),
    (engine, "IN_DOUBT_MAX", 1),
    (engine, "ENDED_LATELY_MAX", 1),
    (session, "UNANSWERED_MAX", 1),
    (timers, "PAGE", 1),
    (timers, "WOKEN_MAX", 2),
    (waking, "TOGETHER_MAX", 2),
    (waking, "BYTES_MAX", 1),
    (committer, "BATCH_EVENTS_MAX", 2),
    (committer, "WAITING_MAX", 2),
    (timeline, "PAGE", 2),
    (rpc_timelines, "PAGE", 1),
)

MAILBOX_MAX = 2
"""A setting, and so not among the above."""


@contextmanager
def turned(*, is_small: bool) -> Iterator[None]:
    """Small for as long as it lasts, if so."""
    before = [(module, name, getattr(module, name)) for module, name, _ in SMALL]
    try:
        if is_small:
            for module, name, value in SMALL:
                setattr(module, name, value)
        yield
    finally:
        for module, name, value in before:
            setattr(module, name, value)
