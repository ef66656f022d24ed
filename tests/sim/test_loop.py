"""The loop under everything: time, order, and what it may not change."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Coroutine
from typing import Any

import pytest

from tests.sim.loop import Loop, Stuck


def finished(coroutine: Coroutine[Any, Any, Any], seed: int = 1, disorder: float = 1.0) -> Any:
    loop = Loop(random.Random(seed), disorder)
    try:
        return loop.run_until_complete(coroutine)
    finally:
        loop.close()


async def order_of(tasks: int) -> list[int]:
    order: list[int] = []

    async def each(number: int) -> None:
        await asyncio.sleep(1)
        order.append(number)

    async with asyncio.TaskGroup() as group:
        for number in range(tasks):
            group.create_task(each(number))
    return order


def test_hours_pass_in_no_time() -> None:
    async def hours() -> float:
        await asyncio.sleep(36_000)
        return asyncio.get_running_loop().time()

    assert finished(hours()) == 36_000


def test_tasks_that_are_ready_together_run_in_an_order_that_the_seed_chooses() -> None:
    orders = {tuple(finished(order_of(5), seed)) for seed in range(30)}
    assert len(orders) > 15
    assert all(sorted(order) == [0, 1, 2, 3, 4] for order in orders)
    assert finished(order_of(5), 7) == finished(order_of(5), 7)


def test_without_disorder_tasks_run_in_the_order_in_which_they_were_made() -> None:
    assert finished(order_of(5), disorder=0) == [0, 1, 2, 3, 4]


def test_plain_callbacks_keep_their_order() -> None:
    async def called() -> list[int]:
        order: list[int] = []
        for number in range(20):
            asyncio.get_running_loop().call_soon(order.append, number)
        await asyncio.sleep(1)
        return order

    assert all(finished(called(), seed) == list(range(20)) for seed in range(10))


def test_what_waits_for_nothing_is_found_out() -> None:
    async def waits() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(Stuck, match="nothing will ever happen"):
        finished(waits())


def test_what_is_busy_for_nothing_is_found_out() -> None:
    async def busy() -> None:
        while True:  # noqa: ASYNC110
            await asyncio.sleep(0)

    with pytest.raises(Stuck, match="never quiet"):
        finished(busy())
