"""One shape of lines, whoever writes them, and no line that a caller has forged."""

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog

from hmsactd import logs


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    libraries = {name: logging.getLogger(name).level for name in logs.LIBRARY_LEVELS}
    yield
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
    root.handlers = handlers
    root.setLevel(level)
    for name, was in libraries.items():
        logging.getLogger(name).setLevel(was)


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_our_lines_and_those_of_libraries_have_the_same_shape() -> None:
    stream = io.StringIO()
    logs.configure("info", "auto", stream)
    logs.logger("hmsactd.engine").info("let go", idle_s=5)
    logging.getLogger("grpc").warning("%s is slow", "somebody", extra={"peer": "ipv4:1"})
    ours, theirs = lines(stream)
    assert ours.keys() - theirs.keys() == {"idle_s"}
    assert (ours["message"], ours["level"], ours["logger"]) == ("let go", "info", "hmsactd.engine")
    assert (theirs["message"], theirs["level"], theirs["peer"]) == ("somebody is slow", "warning", "ipv4:1")


def test_lines_below_the_level_are_not_written() -> None:
    stream = io.StringIO()
    logs.configure("warning", "json", stream)
    logs.logger("hmsactd.engine").info("started")
    logging.getLogger("uvicorn.error").info("Started server process [%d]", 1)
    assert stream.getvalue() == ""


def test_what_is_bound_to_the_task_is_on_every_line() -> None:
    stream = io.StringIO()
    logs.configure("info", "json", stream)
    with structlog.contextvars.bound_contextvars(operation="op_1", namespace="default"):
        logs.logger("hmsactd.engine").info("woken")
        logging.getLogger("aiosqlite").info("busy")
    assert [(line["operation"], line["namespace"]) for line in lines(stream)] == [("op_1", "default")] * 2


@pytest.mark.parametrize("written", ["json", "console"])
def test_control_characters_do_not_reach_the_terminal(written: logs.Format) -> None:
    stream = io.StringIO()
    logs.configure("info", written, stream)
    hostile = "x\n2026 [error] forged\x1b[31m\r\x85\u2028\u202e"
    logs.logger("hmsactd.rpc").info("refused", name=hostile)
    logs.logger("hmsactd.rpc").info(hostile)
    logging.getLogger("grpc").info("%s", hostile)
    text = stream.getvalue()
    assert len(text.splitlines()) == 3
    assert not any(forbidden in text for forbidden in "\x1b\r\x85\u2028\u202e")
    assert "forged" in text


@pytest.mark.parametrize("written", ["json", "console"])
def test_exception_is_told_with_where_it_came_from(written: logs.Format) -> None:
    stream = io.StringIO()
    logs.configure("info", written, stream)
    try:
        raise ValueError("no\x1b[31m luck\n2026 [error] forged")
    except ValueError as error:
        logs.logger("hmsactd.rpc").error("failed", exc_info=error)
    assert "test_logs.py" in stream.getvalue()
    assert "ValueError: no" in stream.getvalue()
    assert "\x1b" not in stream.getvalue()
    assert "\n2026 [error]" not in stream.getvalue()


def test_a_call_that_was_cut_off_before_its_answer_is_no_error() -> None:
    class ExecuteBatchError(Exception):
        pass

    stream = io.StringIO()
    logs.configure("info", "json", stream)
    for raised in (ExecuteBatchError(), ValueError()):
        logging.getLogger(logs.GRPC).error("raised by a servicer", exc_info=raised)
    (line,) = lines(stream)
    assert "ValueError" in line["exception"]
