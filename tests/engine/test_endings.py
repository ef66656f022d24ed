"""Whoever waits for the end of an operation is told of it, and of no other."""

import asyncio

from hmsactd.engine.endings import Endings
from tests.store.batches import summary


async def test_everybody_who_waits_hears_of_the_end_and_of_no_other() -> None:
    endings, ended = Endings(), summary("op_1", state="completed")
    with (
        endings.awaited("default", "op_1") as first,
        endings.awaited("default", "op_1") as second,
        endings.awaited("default", "op_2") as other,
    ):
        endings.come(ended)
        await first.changed()
        await second.changed()
        assert (first.summary, second.summary, other.summary) == (ended, ended, None)


async def test_of_several_one_may_leave_and_the_others_still_hear() -> None:
    endings, ended = Endings(), summary("op_1", state="completed")
    with endings.awaited("default", "op_1") as stays:
        with endings.awaited("default", "op_1") as leaves:
            pass
        endings.come(ended)
        await stays.changed()
        assert (stays.summary, leaves.summary) == (ended, None)
    endings.come(ended)
    assert leaves.summary is None


async def test_whoever_waits_can_be_made_to_look_though_it_has_not_come() -> None:
    endings = Endings()
    with endings.awaited("default", "op_1") as ending:
        waiting = asyncio.get_running_loop().create_task(ending.changed())
        await asyncio.sleep(0)
        assert not waiting.done()
        ending.told()
        await waiting
        assert ending.summary is None
