"""The end of the log in memory: what it has is what the store has, and it never has a hole."""

import random

from hmsactd.store.memory import MemoryStore
from hmsactd.store.store import Birth
from hmsactd.timeline.tail import ROW_BYTES, Tail
from tests.store.batches import Writer, summary

BIRTH = Birth("hmsactd-abcdefghijkl/log/0", "hmsactd-abcdefghijkl+00000000+key")


async def grown(tail: Tail, batches: int, *, unseen: frozenset[int] = frozenset()) -> Writer:
    """A log of random batches; the tail does not hear of some of them."""
    chance = random.Random(7)
    writer = Writer(MemoryStore(), await MemoryStore().open(BIRTH))
    await writer.store.open(BIRTH)
    for number in range(batches):
        operation = f"op_{chance.randrange(4)}"
        known = writer.known.get(("default", operation))
        now = summary(operation, sequence=(known.sequence if known else 0) + chance.randint(1, 4))
        append = writer.append(now, writer.size)
        batch = writer.batch(append)
        assert not await writer.write(append)
        if number not in unseen:
            tail.grew(batch)
    return writer


async def test_what_is_in_the_tail_is_what_the_store_has() -> None:
    tail = Tail()
    writer = await grown(tail, 60)
    assert len(tail) == writer.size
    for start in range(0, writer.size, 3):
        for end in (start + 1, start + 7, writer.size):
            assert tail.rows(start, end, 100) == await writer.store.log(start, min(end, writer.size), 100)
        for until in (start, start + 2, start + 9):
            assert tail.seal_within(start, until) == await writer.store.seal_within(start, until)
    assert tail.rows(writer.size, writer.size + 1, 100) is None


async def test_the_tail_is_bounded_in_bytes_and_says_what_it_has_no_longer() -> None:
    tail = Tail(bytes_max=20 * (ROW_BYTES + len("record op_1 10")))
    writer = await grown(tail, 60)
    assert 15 <= len(tail) <= 22
    first = writer.size - len(tail)
    assert tail.rows(first - 1, writer.size, 10_000) is None
    assert tail.rows(first, writer.size, 10_000) == await writer.store.log(first, writer.size, 10_000)
    assert tail.seal_within(0, first) is None


async def test_a_tail_that_was_not_told_of_a_batch_begins_anew() -> None:
    tail = Tail()
    writer = await grown(tail, 30, unseen=frozenset((10, 11)))
    first = writer.size - len(tail)
    assert tail.rows(first, writer.size, 10_000) == await writer.store.log(first, writer.size, 10_000)
    assert 0 < first < writer.size
    assert tail.rows(0, 1, 100) is None


async def test_a_forgotten_tail_has_nothing() -> None:
    tail = Tail()
    writer = await grown(tail, 5)
    tail.forget()
    assert not tail
    assert tail.rows(0, writer.size, 100) is None
    assert tail.seal_within(0, writer.size) is None
