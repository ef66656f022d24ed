"""Performs one call: runs the step's function, and puts what came of it into a report.

Whatever a function does, there is a report of it; only the cancellation of the task itself passes through.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import logging
import traceback
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

from google.protobuf.duration_pb2 import Duration as DurationMessage

from hmsact import json_text
from hmsact.call import Call, StepError
from hmsact.errors import InvalidArgument
from hmsact.v1 import worker_pb2

MESSAGE_BYTES_MAX = 4096

log = logging.getLogger("hmsact.worker")

StepFunction = Callable[[Call], Any] | Callable[[Call], Awaitable[Any]]
"""A step's function: takes a call, returns a JSON value; plain or `async def`."""


@dataclass(frozen=True, slots=True)
class Handler:
    """The function that does a step. `is_coroutine` functions run on the loop, the others in threads."""

    function: StepFunction
    is_coroutine: bool

    @classmethod
    def of(cls, function: StepFunction) -> Handler:
        """Finds out what kind of function it is, also of objects that can be called."""
        called = getattr(function, "__call__", None)  # noqa: B004 - the method itself is asked, not whether there is one
        return cls(function, inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(called))


async def perform(handler: Handler, call: Call, threads: Executor, output_bytes_max: int) -> worker_pb2.Report:
    """Does the step. The report has no attempt yet."""
    if handler.is_coroutine:
        output, error = await _on_loop(handler.function, call)
    else:
        context = contextvars.copy_context()
        loop = asyncio.get_running_loop()
        output, error = await loop.run_in_executor(threads, context.run, _in_thread, handler.function, call)
    match error:
        case None if call.deferred is not None:
            return _deferred(call, call.deferred, output)
        case None:
            return _done(output, output_bytes_max)
        case StepError():
            log.info("%s of %s failed, attempt %d: %s", call.step, call.operation_id, call.attempt, error)
            return _failed_as_said(error)
        case _:
            # The traceback names files and values of the service: it stays here.
            log.warning("%s of %s failed, attempt %d", call.step, call.operation_id, call.attempt, exc_info=error)
            return _failed("".join(traceback.format_exception_only(error)).strip(), "ERROR")


def withdrawn() -> worker_pb2.Report:
    """The report of a coroutine that was cancelled because nobody waits for its attempt. It has no attempt yet."""
    return _failed("stopped, since nobody waited for the attempt any more", "CANCELLED", permanent=True)


def unknown(step: str) -> worker_pb2.Report:
    """The report of a step that no function does. It has no attempt yet."""
    return _failed(f"this worker does no step called {step}", "STEP_UNKNOWN")


async def _on_loop(function: StepFunction, call: Call) -> tuple[Any, BaseException | None]:
    try:
        return await function(call), None
    except BaseException as error:
        task = asyncio.current_task()
        if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
            raise
        return None, error


def _in_thread(function: StepFunction, call: Call) -> tuple[Any, BaseException | None]:
    try:
        return function(call), None
    except BaseException as error:  # noqa: BLE001 - as above; and a future can't carry every error (StopIteration)
        return None, error


def _deferred(call: Call, deferred: worker_pb2.Deferred, output: Any) -> worker_pb2.Report:
    # `return call.defer()` is as good as calling it.
    if output is not None and output != call.completion_token:
        log.error(
            "%s of %s was deferred, so what its function returned is not its output, and is lost: return nothing "
            "after call.defer(), and complete the step with the token",
            call.step,
            call.operation_id,
        )
    return worker_pb2.Report(deferred=deferred)


def _done(output: Any, output_bytes_max: int) -> worker_pb2.Report:
    try:
        text = json_text.write(output, "output")
    except InvalidArgument as error:
        return _failed(f"the step returned what {error}", "OUTPUT_NOT_JSON", permanent=True)
    if len(text) > output_bytes_max:
        return _failed(
            f"the step's output has {len(text):,} bytes of JSON, more than the {output_bytes_max:,} the daemon takes",
            "OUTPUT_TOO_LARGE",
            permanent=True,
        )
    return worker_pb2.Report(done=worker_pb2.Done(output=text))


def _failed_as_said(error: StepError) -> worker_pb2.Report:
    report = _failed(str(error.message), str(error.code or "ERROR"), permanent=not error.is_retryable)
    if error.retry_after is not None:
        pause = DurationMessage()
        pause.FromTimedelta(error.retry_after)
        report.failed.retry_after.CopyFrom(pause)
    return report


def _failed(message: str, code: str, *, permanent: bool = False) -> worker_pb2.Report:
    told = message.encode(errors="backslashreplace")[:MESSAGE_BYTES_MAX].decode(errors="ignore")
    return worker_pb2.Report(failed=worker_pb2.Failed(message=told, code=code, permanent=permanent))
