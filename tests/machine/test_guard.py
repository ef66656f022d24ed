"""The door to new operations: closed in time, open again, and each said once."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict

from hmsactd import guard as guards
from hmsactd.engine.intake import Intake
from hmsactd.errors import ResourceExhausted, Unavailable
from hmsactd.guard import Files, Guard
from hmsactd.machine import memory
from hmsactd.machine.jumps import Jumps
from hmsactd.machine.memory import Limit
from hmsactd.store.condition import Condition

FLOOR = 64_000_000


class Machine:
    """What the guard looks at, as a test wants it."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.free = FLOOR * 10
        self.used = 0.1
        self.ahead = 0
        self.jumps: list[int] = []
        self.database = directory / "hmsactd.db"
        self.database.touch()
        self.condition, self.intake = Condition(), Intake()
        monkeypatch.setattr(guards, "free_bytes", lambda _: self.free)
        monkeypatch.setattr(memory, "used_part", lambda _: self.used)
        files = Files(directory, self.database, FLOOR)
        jumps = Jumps(lambda: self.ahead, lambda: 0)
        bounds = (Limit(1, "resident"),)
        self.guard = Guard(files, bounds, self.condition, self.intake, self.jumps.append, jumps)

    def reason(self) -> str | None:
        self.guard.look()
        return self.intake.refusal.reason if self.intake.refusal is not None else None


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


@pytest.fixture
def said() -> Iterator[list[EventDict]]:
    with capture_logs() as lines:
        yield lines


def test_below_the_floor_it_is_closed_until_there_is_clearly_more(machine: Machine, said: list[EventDict]) -> None:
    assert machine.reason() is None
    machine.free = FLOOR - 1
    assert [machine.reason() for _ in range(3)] == ["DISK_NEARLY_FULL"] * 3
    assert isinstance(machine.intake.refusal, Unavailable)
    machine.free = FLOOR + 1
    assert machine.reason() == "DISK_NEARLY_FULL"
    machine.free = FLOOR * 2
    assert [machine.reason() for _ in range(3)] == [None] * 3
    assert len(said) == 2


def test_with_little_memory_left_it_is_closed_until_there_is_clearly_more(
    machine: Machine, said: list[EventDict]
) -> None:
    machine.used = 0.9
    assert [machine.reason() for _ in range(3)] == ["MEMORY_NEARLY_FULL"] * 3
    assert isinstance(machine.intake.refusal, ResourceExhausted)
    machine.used = 0.82
    assert machine.reason() == "MEMORY_NEARLY_FULL"
    machine.used = 0.7
    assert machine.reason() is None
    assert len(said) == 2


def test_two_reasons_are_both_to_end(machine: Machine) -> None:
    machine.free, machine.used = 0, 0.9
    assert machine.reason() == "DISK_NEARLY_FULL"
    machine.free = FLOOR * 2
    assert machine.reason() == "MEMORY_NEARLY_FULL"
    machine.used = 0.1
    assert machine.reason() is None


def test_a_jump_is_passed_on_and_said(machine: Machine, said: list[EventDict]) -> None:
    machine.ahead = -7_200_000_000
    machine.guard.look()
    machine.guard.look()
    assert machine.jumps == [-7_200_000_000]
    assert [line["by_seconds"] for line in said] == [-7200.0]


def test_a_database_that_is_another_breaks_the_store_for_good(machine: Machine, said: list[EventDict]) -> None:
    machine.guard.look()
    assert not machine.condition.broken.is_set()
    machine.database.rename(machine.database.with_name("aside"))
    machine.database.touch()
    machine.guard.look()
    machine.guard.look()
    assert machine.condition.broken.is_set()
    assert len(said) == 1


def test_a_disk_that_can_not_be_asked_changes_nothing(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(_: Path) -> int:
        raise OSError(5, "Input/output error")

    machine.free = 0
    assert machine.reason() == "DISK_NEARLY_FULL"
    monkeypatch.setattr(guards, "free_bytes", failing)
    assert machine.reason() == "DISK_NEARLY_FULL"
