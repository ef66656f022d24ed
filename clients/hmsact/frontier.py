"""The right edge of a log's tree: enough to go on from a size, and to say the root of every size after it.

RFC 9162's tree as a compact range from 0: the roots of the perfect subtrees that it is made of, from left to right.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from hmsact.record import node_hash


class Frontier:
    """The edge of the tree over the first `size` leaves."""

    __slots__ = ("_roots", "size")

    def __init__(self, size: int = 0, roots: Iterable[bytes] = ()) -> None:
        self.size = size
        self._roots = list(roots)
        if size < 0 or len(self._roots) != size.bit_count() or any(len(root) != 32 for root in self._roots):
            raise ValueError(f"a tree of {size} leaves is not made of these subtrees")

    @property
    def roots(self) -> tuple[bytes, ...]:
        """The roots of the perfect subtrees, from left to right."""
        return tuple(self._roots)

    def copy(self) -> Frontier:
        """An edge that grows on its own."""
        return Frontier(self.size, self._roots)

    def add(self, leaf: bytes) -> None:
        """Adds a leaf."""
        node, size = leaf, self.size
        while size & 1:
            node = node_hash(self._roots.pop(), node)
            size >>= 1
        self._roots.append(node)
        self.size += 1

    def root(self) -> bytes:
        """The root of the whole tree."""
        if not self._roots:
            return hashlib.sha256(b"").digest()
        root = self._roots[-1]
        for left in reversed(self._roots[:-1]):
            root = node_hash(left, root)
        return root
