"""What a caller said in their own words, as the core and the record know it: a commitment, never the words.

The commitment is computed at the edge, field by field, before an operation is told; see hmsactd.timeline.payloads.
"""

from __future__ import annotations

from dataclasses import field

from hmsactd.value import value


@value(frozen=True, slots=True)
class Payload:
    """A committed payload.

    `commitment` is the hex root over its salted fields, `size` the length of its JSON text in bytes. `content` is
    there only on the way in, between the edge and the store: a replayed payload has none, and equality ignores it.
    """

    commitment: str
    size: int
    content: bytes | None = field(default=None, compare=False, repr=False)
    salt: bytes | None = field(default=None, compare=False, repr=False)
