"""The door to starts: closed for as long as there is a reason."""

import pytest

from hmsactd.engine.intake import Intake
from hmsactd.errors import ResourceExhausted, Unavailable

FULL = Unavailable("DISK_FULL", "the disk is full")
BUSY = ResourceExhausted("MEMORY", "memory runs out")


def test_it_is_open_until_it_is_closed() -> None:
    intake = Intake()
    intake.admit()
    assert not intake.open("DISK_FULL")


def test_it_stays_closed_until_every_reason_is_over() -> None:
    intake = Intake()
    assert intake.close(FULL)
    assert not intake.close(FULL), "that is no news"
    assert intake.close(BUSY)
    for reason, left in (("DISK_FULL", BUSY), ("MEMORY", None)):
        with pytest.raises(type(intake.refusal or FULL)):
            intake.admit()
        assert intake.open(reason)
        assert intake.refusal is left
    intake.admit()
