"""Fixtures for pytest, for tests of those who use this package.

# conftest.py
pytest_plugins = ["hmsact.fixtures"]

# test_flow.py
def test_flow(hmsactd):
    irs = hmsactd.worker("IRS")
    ...
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from hmsact.testing import Daemon


@pytest.fixture(scope="session")
def _hmsactd_of_session() -> Iterator[Daemon]:
    with Daemon() as daemon:
        yield daemon


@pytest.fixture
def hmsactd(_hmsactd_of_session: Daemon) -> Daemon:
    """A daemon that all tests of a run share, since every operation stands for itself. Its clock only goes forward."""
    return _hmsactd_of_session
