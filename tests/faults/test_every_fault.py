"""Wherever a disk fails, once or for good: nothing acknowledged is lost, nobody is told what isn't so, and it goes on.

The lives are those of lives.py, in a process of their own, thousands of simulated seconds in a few real ones.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from tests.faults.faults import Faults

HERE = Path(__file__).parent
PLACES = int(os.environ.get("HMSACT_SOAK_PLACES", "20"))
"""Lives for each of the six faults. A life has about 35 fsyncs, which are all tried, 620 growths and 750 writes."""
BIRTHS = PLACES // 2
"""A first start has about 20, 160 and 170."""
SEED = int(os.environ.get("HMSACT_SOAK_SEED", "20"))
FAULTS = ("write, once", "write, for good", "fsync, once", "fsync, for good", "full, once", "full, for good")


@pytest.fixture
def directory() -> Iterator[Path]:
    """A place in memory, if there is one: what is looked at is what an error leads to, not how long an fsync takes."""
    memory = Path("/dev/shm")
    with TemporaryDirectory(prefix="hmsact-", dir=memory if memory.is_dir() else None) as place:
        yield Path(place)


def played(library: Path, directory: Path, *arguments: str) -> list[dict[str, Any]]:
    """What became of each life."""
    (directory / "lives").mkdir()
    faults = Faults(library, directory / "plan", directory / "lives")
    faults.close()
    ran = subprocess.run(
        [sys.executable, str(HERE / "lives.py"), str(directory), "--seed", str(SEED), *arguments],
        env=os.environ | faults.environment | {"PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return [json.loads(line) for line in ran.stdout.splitlines()]


@pytest.mark.timeout(240 + 12 * min(PLACES, 1_000))
@pytest.mark.parametrize(("kind", "most"), [((), PLACES), (("--births",), BIRTHS)], ids=["lives", "first starts"])
def test_a_fault_of_the_disk_at_any_place_breaks_no_promise(
    library: Path,
    directory: Path,
    kind: tuple[str, ...],
    most: int,
    request: pytest.FixtureRequest,
    record_testsuite_property: Callable[[str, object], None],
) -> None:
    lives = played(library, directory, *kind, "--most", str(most))
    broken = [life for life in lives if "broken" in life]
    assert not broken, f"{len(broken)}, such as {broken[0]['fault']} at {broken[0]['k']}: {broken[0]['broken']}"
    struck = Counter(life["fault"] for life in lives if life["struck"])
    assert set(struck) == set(FAULTS)
    figures = {"faults": struck.total(), "seconds": round(sum(life["seconds"] for life in lives)), **struck}
    for name, figure in figures.items():
        record_testsuite_property(f"{request.node.callspec.id}.{name}", figure)
    print(figures)


@pytest.mark.timeout(120)
def test_the_same_with_errors_swallowed_is_found_out(library: Path, directory: Path) -> None:
    lives = played(library, directory, "--swallow", "--most", "6", "--fault", "fsync, once", "--fault", "full, once")
    assert sum("acknowledged and lost" in life.get("broken", "") for life in lives) >= 2
