"""A daemon on a disk that fails when the test says so."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.faults import Faults, compiled
from tests.faults.tower import Tower


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled(tmp_path_factory.mktemp("faults"))


@pytest.fixture
def faults(library: Path, tmp_path: Path) -> Iterator[Faults]:
    faults = Faults(library, tmp_path / "plan", tmp_path / "data")
    yield faults
    faults.close()


@pytest.fixture
def tower(faults: Faults, tmp_path: Path) -> Iterator[Tower]:
    """A daemon that is not started yet."""
    tower = Tower(tmp_path / "data", environment=faults.environment)
    yield tower
    tower.kill()
