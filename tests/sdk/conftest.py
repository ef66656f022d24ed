"""What the tests of the SDK share: a scripted daemon, a client of it, and a worker with the tower it meets."""

from collections.abc import Iterator

import pytest
from hmsact import Orchestrator, Worker

from tests.sdk.fake import FakeDaemon
from tests.sdk.tower import Tower


@pytest.fixture
def fake() -> Iterator[FakeDaemon]:
    daemon = FakeDaemon().start()
    yield daemon
    daemon.stop()


@pytest.fixture
def act(fake: FakeDaemon) -> Iterator[Orchestrator]:
    with Orchestrator(fake.address, token="dev:jdavis@fsa.gov", namespace="loans", timeout="10s") as act:
        yield act


@pytest.fixture
def tower(fake: FakeDaemon) -> Tower:
    tower = Tower()
    fake.on("Work", tower)
    return tower


@pytest.fixture
def irs(fake: FakeDaemon) -> Worker:
    return Worker("IRS", token="dev:svc/IRS", address=fake.address, max_in_flight=4)
