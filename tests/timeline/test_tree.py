"""The tree against RFC 9162 as it is written."""

import random
from collections.abc import Sequence

import pytest
from hmsact.record import is_consistent, root_of_inclusion

from hmsactd.store.store import NodeRow
from hmsactd.timeline.tree import BLOCK, EMPTY_ROOT, Edge, Fetch, Proofs, rebuilt_edge
from tests.timeline import naive

LEAVES = [naive.leaf_hash(f"record {number}".encode()) for number in range(700)]
SIZES = [1, 2, 3, 4, 5, 7, 8, 9, 31, 32, 33, 63, 65, 127, 255, 256, 257, 258, 300, 511, 512, 513, 514, 640, 699, 700]


def grown(size: int) -> tuple[Edge, list[NodeRow]]:
    edge, kept = Edge(), list[NodeRow]()
    for leaf in LEAVES[:size]:
        edge.add(leaf, kept)
    return edge, kept


def fetching(leaves: Sequence[bytes], kept: Sequence[NodeRow]) -> Fetch:
    async def fetch(level: int, start: int, end: int) -> list[bytes]:
        if not level:
            return list(leaves[start:end])
        nodes = {node.position: node.hash for node in kept if node.level == level}
        return [nodes[position] for position in range(start, end) if position in nodes]

    return fetch


def test_an_empty_log_has_the_root_of_nothing() -> None:
    assert Edge().root() == EMPTY_ROOT == naive.root([])


def test_the_root_is_right_at_every_size() -> None:
    edge = Edge()
    for size, leaf in enumerate(LEAVES, 1):
        edge.add(leaf, [])
        if size < 70 or size in SIZES:
            assert edge.root() == naive.root(LEAVES[:size])


def test_one_level_in_eight_is_kept() -> None:
    _, kept = grown(700)
    assert [(node.level, node.position) for node in kept] == [(8, 0), (8, 1)]
    assert [node.hash for node in kept] == [naive.root(LEAVES[:256]), naive.root(LEAVES[256:512])]


def test_higher_levels_are_kept_too() -> None:
    edge, kept = Edge(), list[NodeRow]()
    for number in range(65_536):
        edge.add(number.to_bytes(32, "big"), kept)
    assert [(node.level, node.position) for node in kept[-2:]] == [(8, 255), (16, 0)]
    assert kept[-1].hash == edge.root()


def test_a_copied_edge_grows_alone() -> None:
    edge, _ = grown(5)
    copy, root = edge.copy(), edge.root()
    copy.add(LEAVES[5], [])
    assert (edge.size, edge.root()) == (5, root)
    assert copy.root() == naive.root(LEAVES[:6])


@pytest.mark.parametrize("size", [0, *SIZES])
async def test_the_edge_is_rebuilt_from_what_is_kept(size: int) -> None:
    edge, kept = grown(size)
    # The log is longer than the tree that is asked for; that must not matter.
    _, more = grown(700)
    for fetch in (fetching(LEAVES[:size], kept), fetching(LEAVES, more)):
        rebuilt = await rebuilt_edge(size, fetch)
        assert (rebuilt.size, rebuilt.root()) == (size, edge.root())
        rebuilt.add(LEAVES[0], [])
        assert rebuilt.root() == naive.root([*LEAVES[:size], LEAVES[0]])


@pytest.mark.parametrize("size", SIZES)
async def test_inclusion_is_proved_as_the_rfc_says(size: int) -> None:
    _, kept = grown(700)
    proofs, leaves = Proofs(fetching(LEAVES, kept)), LEAVES[:size]
    root = naive.root(leaves)
    for index in {0, 1, size // 2, size - 2, size - 1, 255, 256} & set(range(size)):
        proof = await proofs.inclusion(index, size)
        assert proof == naive.inclusion(index, leaves)
        assert root_of_inclusion(index, size, leaves[index], proof) == root


@pytest.mark.parametrize("size", SIZES)
async def test_consistency_is_proved_as_the_rfc_says(size: int) -> None:
    _, kept = grown(700)
    proofs, leaves = Proofs(fetching(LEAVES, kept)), LEAVES[:size]
    root = naive.root(leaves)
    for earlier in {each for each in SIZES if each <= size}:
        proof = await proofs.consistency(earlier, size)
        assert proof == naive.consistency(earlier, leaves)
        assert await proofs.root(earlier) == naive.root(LEAVES[:earlier])
        assert is_consistent(earlier, naive.root(LEAVES[:earlier]), size, root, proof)


@pytest.mark.parametrize(("index", "size"), [(-1, 5), (5, 5), (0, 0)])
async def test_a_leaf_outside_the_tree_has_no_proof(index: int, size: int) -> None:
    with pytest.raises(ValueError, match="the index lies outside the tree"):
        await Proofs(fetching(LEAVES, [])).inclusion(index, size)


@pytest.mark.parametrize(("size", "later_size"), [(0, 5), (6, 5), (0, 0)])
async def test_no_proof_joins_a_tree_with_an_earlier_one_or_with_none(size: int, later_size: int) -> None:
    with pytest.raises(ValueError, match="a consistency proof joins a tree of at least one leaf with a later one"):
        await Proofs(fetching(LEAVES, [])).consistency(size, later_size)


async def test_proofs_across_many_blocks_hold() -> None:
    size = BLOCK * BLOCK + 3 * BLOCK + 77
    edge, kept, leaves = Edge(), list[NodeRow](), [number.to_bytes(32, "big") for number in range(size)]
    for leaf in leaves:
        edge.add(leaf, kept)
    by_place = {(node.level, node.position): node.hash for node in kept}

    async def fetch(level: int, start: int, end: int) -> list[bytes]:
        if not level:
            return leaves[start:end]
        return [by_place[level, position] for position in range(start, end) if (level, position) in by_place]

    proofs = Proofs(fetch)
    assert (await rebuilt_edge(size, fetch)).root() == edge.root()
    chance = random.Random(7)
    for index in [0, size - 1, BLOCK * BLOCK - 1, BLOCK * BLOCK, *(chance.randrange(size) for _ in range(40))]:
        proof = await proofs.inclusion(index, size)
        assert root_of_inclusion(index, size, leaves[index], proof) == edge.root()


@pytest.mark.parametrize("size", [1, 2, 3, 7, 8, 9, 33])
async def test_a_wrong_proof_leads_elsewhere(size: int) -> None:
    leaves = LEAVES[:size]
    root = naive.root(leaves)
    for index in range(size):
        proof = naive.inclusion(index, leaves)
        wrong = [[*proof, LEAVES[600]], *([proof[:-1], [LEAVES[600], *proof[1:]], proof[::-1]] if proof else [])]
        for each in wrong:
            if each != proof:
                assert leads(index, size, leaves[index], each) != root
        assert leads(size, size, leaves[0], proof) is None
        assert leads(-1, size, leaves[0], proof) is None


def leads(index: int, size: int, leaf: bytes, proof: Sequence[bytes]) -> bytes | None:
    try:
        return root_of_inclusion(index, size, leaf, proof)
    except ValueError:
        return None


def test_a_wrong_consistency_proof_joins_nothing() -> None:
    for size, later in ((1, 2), (3, 7), (4, 7), (6, 8), (8, 8), (5, 33)):
        roots = naive.root(LEAVES[:size]), naive.root(LEAVES[:later])
        proof = naive.consistency(size, LEAVES[:later])
        assert is_consistent(size, roots[0], later, roots[1], proof)
        assert not is_consistent(size, roots[0], later, roots[1], [*proof, LEAVES[0]])
        assert not is_consistent(size, LEAVES[9], later, roots[1], proof)
        assert not is_consistent(size, roots[0], later, LEAVES[9], proof)
        assert not is_consistent(later + 1, roots[0], later, roots[1], proof)
        assert not is_consistent(0, roots[0], later, roots[1], proof)
        for at in range(len(proof)):
            assert not is_consistent(size, roots[0], later, roots[1], [*proof[:at], LEAVES[650], *proof[at + 1 :]])
            assert not is_consistent(size, roots[0], later, roots[1], proof[:at] + proof[at + 1 :])
