"""The edge of a tree that a follower keeps, against RFC 9162 as it is written and against the daemon's own."""

import pytest
from hmsact.frontier import Frontier

from hmsactd.timeline.tree import Edge, perfect_parts
from tests.timeline import naive

LEAVES = [naive.leaf_hash(f"record {number}".encode()) for number in range(300)]


def test_the_root_is_right_at_every_size() -> None:
    frontier, edge = Frontier(), Edge()
    assert frontier.root() == naive.root([]) == edge.root()
    for size, leaf in enumerate(LEAVES, 1):
        frontier.add(leaf)
        edge.add(leaf, [])
        assert frontier.size == size
        assert frontier.root() == edge.root()
        if size < 40 or size % 37 == 0:
            assert frontier.root() == naive.root(LEAVES[:size])


@pytest.mark.parametrize("size", [0, 1, 2, 3, 7, 8, 100, 255, 256, 257])
def test_it_goes_on_from_the_roots_of_the_perfect_subtrees(size: int) -> None:
    roots = [
        naive.root(LEAVES[position << level : (position + 1) << level]) for level, position in perfect_parts(0, size)
    ]
    frontier = Frontier(size, roots)
    assert list(frontier.roots) == roots
    other = frontier.copy()
    for leaf in LEAVES[size:]:
        frontier.add(leaf)
    assert frontier.root() == naive.root(LEAVES)
    assert list(other.roots) == roots


@pytest.mark.parametrize(("size", "roots"), [(3, [bytes(32)]), (1, []), (1, [b"short"]), (-1, []), (0, [bytes(32)])])
def test_what_is_no_edge_of_a_tree_is_refused(size: int, roots: list[bytes]) -> None:
    with pytest.raises(ValueError, match="is not made of"):
        Frontier(size, roots)
