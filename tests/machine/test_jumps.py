"""Telling a clock that was set from one that goes."""

import pytest

from hmsactd.machine.jumps import Jumps

SECOND = 1_000_000


class Machine:
    """Two clocks."""

    def __init__(self) -> None:
        self.wall = 1_700_000_000 * SECOND
        self.passed = 5

    def go(self, by_us: int, set_by_us: int = 0) -> None:
        self.passed += by_us
        self.wall += by_us + set_by_us


@pytest.mark.parametrize("by_us", [3600 * SECOND, -3600 * SECOND, SECOND, -SECOND])
def test_a_jump_is_told_once_and_by_how_much(by_us: int) -> None:
    machine = Machine()
    jumps = Jumps(lambda: machine.wall, lambda: machine.passed)
    machine.go(SECOND // 10)
    assert jumps.look() == 0
    machine.go(SECOND // 10, by_us)
    assert jumps.look() == by_us
    machine.go(SECOND // 10)
    assert jumps.look() == 0


def test_time_that_passes_and_what_ntp_corrects_are_no_jumps() -> None:
    machine = Machine()
    jumps = Jumps(lambda: machine.wall, lambda: machine.passed)
    for _ in range(10_000):
        # However long nobody looked, and however long it is corrected.
        machine.go(3600 * SECOND, 900_000)
        assert jumps.look() == 0
