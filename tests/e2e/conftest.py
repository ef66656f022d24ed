"""One real daemon for a module, and callers of it. A module with other needs has a daemon fixture of its own."""

from collections.abc import Iterator

import pytest
from hmsact.testing import Daemon

from tests.e2e.raw import AGENT, OFFICER, OTHER_OFFICER, Caller


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    """A daemon whose clock the test moves."""
    with Daemon() as daemon:
        yield daemon


@pytest.fixture
def developer(daemon: Daemon) -> Iterator[Caller]:
    """Whoever says no token: a person with every permission."""
    with Caller(daemon.address) as caller:
        yield caller


@pytest.fixture
def officer(daemon: Daemon) -> Iterator[Caller]:
    """A person who decides, and neither started nor may do everything."""
    with Caller(daemon.address, OFFICER) as caller:
        yield caller


@pytest.fixture
def other_officer(daemon: Daemon) -> Iterator[Caller]:
    """Another one."""
    with Caller(daemon.address, OTHER_OFFICER) as caller:
        yield caller


@pytest.fixture
def agent(daemon: Daemon) -> Iterator[Caller]:
    """A software agent, for which the developer is responsible."""
    with Caller(daemon.address, AGENT) as caller:
        yield caller
