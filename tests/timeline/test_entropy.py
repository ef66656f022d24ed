"""Random bytes are handed out once, from a block that is drawn at a time."""

import pytest

from hmsactd.timeline.entropy import BLOCK_BYTES, Entropy


@pytest.fixture
def drawn() -> list[bytes]:
    return []


@pytest.fixture
def entropy(drawn: list[bytes]) -> Entropy:
    def draw(count: int) -> bytes:
        drawn.append(bytes([len(drawn)]) * count)
        return drawn[-1]

    entropy = Entropy()
    entropy.take(7)
    entropy.draw_from(draw)
    return entropy


def test_from_another_source_nothing_of_the_block_at_hand_is_handed_out(entropy: Entropy, drawn: list[bytes]) -> None:
    assert entropy.take(32) == bytes(32)
    assert len(drawn) == 1


def test_what_is_left_of_a_block_is_never_stretched(entropy: Entropy, drawn: list[bytes]) -> None:
    assert entropy.take(BLOCK_BYTES - 1) == bytes(BLOCK_BYTES - 1)
    assert entropy.take(2) == b"\1\1"
    assert entropy.take(BLOCK_BYTES - 2) == b"\1" * (BLOCK_BYTES - 2)
    assert len(drawn) == 2


def test_the_systems_chance_does_not_repeat_itself() -> None:
    entropy = Entropy()
    assert len({entropy.take(16) for _ in range(2_000)}) == 2_000
