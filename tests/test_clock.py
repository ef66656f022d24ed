"""Waiting for a time, on a clock that stands still until it is moved."""

import anyio
import pytest
from anyio.abc import TaskGroup
from anyio.lowlevel import checkpoint

from hmsactd import clock as clocks
from hmsactd.clock import Clock, SettableClock, SystemClock

SECOND = 1_000_000


class Sleepers:
    """Coroutines that wait for times, and those that have come."""

    def __init__(self, tasks: TaskGroup, clock: Clock) -> None:
        self._tasks = tasks
        self._clock = clock
        self.woken: list[int] = []

    def add(self, at: int) -> None:
        self._tasks.start_soon(self._sleep, at)

    async def _sleep(self, at: int) -> None:
        await self._clock.sleep_until(at)
        self.woken.append(at)


async def settle() -> None:
    """Lets every task that can go on do so."""
    for _ in range(10):
        await checkpoint()


async def test_moving_the_clock_wakes_those_whose_time_has_come_and_nobody_else() -> None:
    clock = SettableClock(lambda: 0)
    async with anyio.create_task_group() as tasks:
        sleepers = Sleepers(tasks, clock)
        sleepers.add(1 * SECOND)
        sleepers.add(3 * SECOND)
        await settle()
        assert sleepers.woken == []
        assert clock.advance(2 * SECOND) == 2 * SECOND
        await settle()
        assert sleepers.woken == [1 * SECOND]
        clock.advance_to(3 * SECOND)
        await settle()
        assert sleepers.woken == [1 * SECOND, 3 * SECOND]


async def test_time_that_has_passed_is_not_waited_for() -> None:
    await SettableClock(lambda: 5).sleep_until(5)
    await SystemClock().sleep_until(0)


def test_moved_clock_goes_on_with_its_base() -> None:
    times = iter((10, 20, 30))
    clock = SettableClock(lambda: next(times))
    assert clock.advance(100) == 110
    assert clock.now() == 120
    assert clock.now() == 130


def test_clock_is_not_moved_back() -> None:
    clock = SettableClock(lambda: 50)
    with pytest.raises(ValueError, match="forward only"):
        clock.advance(-1)
    assert clock.advance_to(10) == 50


def test_new_clock_shows_the_machines_time() -> None:
    before = clocks.real_time()
    assert before <= SettableClock().now() <= clocks.real_time()
    assert before <= SystemClock().now() <= clocks.real_time()


async def test_setting_the_machines_clock_forward_wakes_sleepers(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0
    monkeypatch.setattr(clocks, "real_time", lambda: now)
    monkeypatch.setattr(clocks, "SLICE_US", 1)
    async with anyio.create_task_group() as tasks:
        sleepers = Sleepers(tasks, SystemClock())
        sleepers.add(3600 * SECOND)
        await settle()
        assert sleepers.woken == []
        now = 3600 * SECOND


async def test_setting_the_machines_clock_back_lets_sleepers_sleep_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    now, passed = 3600 * SECOND, 0
    monkeypatch.setattr(clocks, "real_time", lambda: now)
    monkeypatch.setattr(clocks, "passed_time", lambda: passed)
    monkeypatch.setattr(clocks, "SLICE_US", 0)
    async with anyio.create_task_group() as tasks:
        sleepers = Sleepers(tasks, SystemClock())
        sleepers.add(now + 5 * SECOND)
        await settle()
        now -= 3600 * SECOND
        passed += 4 * SECOND
        await settle()
        assert sleepers.woken == []
        passed += 1 * SECOND
        await settle()
        assert sleepers.woken == [3605 * SECOND]
