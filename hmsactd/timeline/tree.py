"""The RFC 9162 tree over the log: grows at its right edge, proves from what is kept.

In memory stands only the edge: the roots of the perfect subtrees that make up the log. Kept beside the leaves is one
level of inner nodes in eight, so a proof hashes blocks of 256 again instead of reading every node there is.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final

from hmsact.record import node_hash

from hmsactd.store.store import NodeRow, Store

STRIDE: Final = 8
BLOCK: Final = 1 << STRIDE
EMPTY_ROOT: Final = bytes.fromhex("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")

Fetch = Callable[[int, int, int], Awaitable[Sequence[bytes]]]
"""Returns the hashes of a level (0 is the leaves) from a position to before another."""


class Edge:
    """The right edge of the tree. Cheap to copy, so that a batch that fails leaves no trace."""

    __slots__ = ("_peaks", "size")

    def __init__(self, size: int = 0, peaks: Iterable[bytes] = ()) -> None:
        self.size = size
        self._peaks = list(peaks)
        assert len(self._peaks) == size.bit_count(), "an edge has one root for each perfect subtree"

    def copy(self) -> Edge:
        """Returns an edge that grows on its own."""
        return Edge(self.size, self._peaks)

    def add(self, leaf: bytes, kept: list[NodeRow]) -> None:
        """Adds a leaf; inner nodes that are to be kept are added to `kept`."""
        node, size, level = leaf, self.size, 0
        while size & 1:
            node = node_hash(self._peaks.pop(), node)
            size >>= 1
            level += 1
            if not level % STRIDE:
                kept.append(NodeRow(level, size, node))
        self._peaks.append(node)
        self.size += 1

    def root(self) -> bytes:
        """Returns the root of the tree."""
        if not self._peaks:
            return EMPTY_ROOT
        root = self._peaks[-1]
        for peak in reversed(self._peaks[:-1]):
            root = node_hash(peak, root)
        return root


def kept_hashes(store: Store) -> Fetch:
    """Returns what reads the hashes that a store keeps."""

    async def fetch(level: int, start: int, end: int) -> list[bytes]:
        return await (store.nodes(level, start, end) if level else store.leaves(start, end))

    return fetch


async def rebuilt_edge(size: int, fetch: Fetch) -> Edge:
    """Returns the edge of the tree over the first `size` leaves, from what is kept."""
    proofs = Proofs(fetch)
    return Edge(size, [await proofs.perfect(level, position) for level, position in perfect_parts(0, size)])


class Proofs:
    """Makes proofs from what is kept. Remembers the blocks it has hashed last: a timeline's records lie close."""

    BLOCKS_MAX: Final = 32

    __slots__ = ("_blocks", "_fetch")

    def __init__(self, fetch: Fetch) -> None:
        self._fetch = fetch
        self._blocks: OrderedDict[tuple[int, int], list[list[bytes]]] = OrderedDict()

    async def root(self, size: int) -> bytes:
        """Returns the root of the tree as it was at a size of at least one."""
        return await self._root(0, size)

    async def inclusion(self, index: int, size: int) -> list[bytes]:
        """Returns the proof that a leaf is in the tree of `size` (RFC 9162, 2.1.3.1)."""
        return [await self._root(start, end) for start, end in inclusion_ranges(index, size)]

    async def consistency(self, size: int, later_size: int) -> list[bytes]:
        """Returns the proof that the tree of `size` begins the tree of `later_size` (RFC 9162, 2.1.4.1)."""
        return [await self._root(start, end) for start, end in consistency_ranges(size, later_size)]

    async def perfect(self, level: int, position: int) -> bytes:
        """Returns the root of a perfect subtree."""
        above = level % STRIDE
        first = position << above
        levels = await self._block(level - above, first // BLOCK, first % BLOCK + (1 << above))
        return levels[above][first % BLOCK >> above]

    async def _root(self, start: int, end: int) -> bytes:
        roots = [await self.perfect(level, position) for level, position in perfect_parts(start, end)]
        root = roots.pop()
        while roots:
            root = node_hash(roots.pop(), root)
        return root

    async def _block(self, base: int, block: int, least: int) -> list[list[bytes]]:
        """Returns every level of a block of 256 nodes, as far as it is filled; at least `least` nodes of it."""
        known = self._blocks.get((base, block))
        if known is None or len(known[0]) < least:
            start = block * BLOCK
            known = _levels(await self._fetch(base, start, start + BLOCK))
            assert len(known[0]) >= least, "the tree is kept as far as the log goes"
            self._blocks[base, block] = known
            while len(self._blocks) > self.BLOCKS_MAX:
                self._blocks.popitem(last=False)
        self._blocks.move_to_end((base, block))
        return known


def perfect_parts(start: int, end: int) -> list[tuple[int, int]]:
    """Returns the perfect subtrees (level, position) that leaves `start` to before `end` are made of, left to right.

    `start` is where a subtree at least as large as the range may begin, as in every range of a proof.
    """
    parts = []
    while start < end:
        level = (end - start).bit_length() - 1
        parts.append((level, start >> level))
        start += 1 << level
    return parts


def inclusion_ranges(index: int, size: int) -> list[tuple[int, int]]:
    """Returns the ranges of leaves whose roots prove a leaf, the nearest first."""
    if not 0 <= index < size:
        raise ValueError("the index lies outside the tree")
    ranges, start, end = [], 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            ranges.append((middle, end))
            end = middle
        else:
            ranges.append((start, middle))
            start = middle
    return ranges[::-1]


def consistency_ranges(size: int, later_size: int) -> list[tuple[int, int]]:
    """Returns the ranges of leaves whose roots prove that a tree begins a later one."""
    if not 0 < size <= later_size:
        raise ValueError("a consistency proof joins a tree of at least one leaf with a later one")
    ranges, start, end, is_whole = [], 0, later_size, True
    while size != end:
        middle = start + _split(end - start)
        if size <= middle:
            ranges.append((middle, end))
            end = middle
        else:
            ranges.append((start, middle))
            start, is_whole = middle, False
    if not is_whole:
        ranges.append((start, end))
    return ranges[::-1]


def _split(size: int) -> int:
    """The largest power of two below a size."""
    return 1 << ((size - 1).bit_length() - 1)


def _levels(nodes: Sequence[bytes]) -> list[list[bytes]]:
    levels = [list(nodes)]
    while len(levels[-1]) > 1 and len(levels) < STRIDE:
        below = levels[-1]
        levels.append([node_hash(below[at], below[at + 1]) for at in range(0, len(below) - 1, 2)])
    return levels
