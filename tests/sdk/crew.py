"""A worker that is connected to the tower of a test."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from hmsact import Worker
from hmsact.v1 import worker_pb2 as pb

from tests.sdk.tower import Connection, Tower


@asynccontextmanager
async def working(irs: Worker, tower: Tower, **welcome: Any) -> AsyncIterator[Connection]:
    """A worker that is connected; it is let go in peace at the end."""
    async with irs:
        connection = await tower.welcome(**welcome)
        yield connection
        irs.stop()
        await connection.goodbye()


async def report_of(irs: Worker, tower: Tower, told: pb.Call, **welcome: Any) -> pb.Report:
    """What the worker reports of a call."""
    async with working(irs, tower, **welcome) as connection:
        connection.say(calls=[told])
        report = await connection.report()
        connection.judge(report.attempt)
    assert report.attempt == told.attempt
    return report
