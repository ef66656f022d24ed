"""What the tests of the SDK share: a scripted daemon, and a client of it."""

from collections.abc import Iterator

import pytest
from hmsact import Orchestrator

from tests.sdk.fake import FakeDaemon


@pytest.fixture
def fake() -> Iterator[FakeDaemon]:
    daemon = FakeDaemon().start()
    yield daemon
    daemon.stop()


@pytest.fixture
def act(fake: FakeDaemon) -> Iterator[Orchestrator]:
    with Orchestrator(fake.address, token="dev:jdavis@fsa.gov", namespace="loans", timeout="10s") as act:
        yield act
