"""A daemon whose clock the story moves, unless a story has one of its own."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hmsact.testing import Daemon

from tests.stories.scene import Scene


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with Daemon(tmp_path / "data") as daemon, daemon.orchestrator() as act:
        yield Scene(daemon, act)
