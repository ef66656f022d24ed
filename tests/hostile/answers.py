"""What an answer to hostile input may be: a code that says whose fault it is, and nothing told of our inside."""

from __future__ import annotations

import re

from tests.hostile.door import Answer

REFUSALS = frozenset(
    (
        "UNAUTHENTICATED",
        "INVALID_ARGUMENT",
        "NOT_FOUND",
        "ALREADY_EXISTS",
        "FAILED_PRECONDITION",
        "PERMISSION_DENIED",
        "ABORTED",
        "RESOURCE_EXHAUSTED",
    )
)
"""Codes that a caller can do something about. UNKNOWN and INTERNAL mean that we had not thought of it."""

OF_GRPC = re.compile(r"(SERVER: )?Received message larger than max \(\d+ vs\. \d+\)")
"""What gRPC itself answers, before anybody of ours has seen the request: a sentence, and no reason for machines."""

REASON = re.compile(r"[A-Z][A-Z0-9_]*")

INSIDE = re.compile(
    r"Traceback|<class |object at 0x|site-packages|\.py\b|File \"|[a-z]Error\b|Exception|google\.protobuf|DecodeError"
    r"|hmsactd\.|sqlite|0x[0-9a-f]{6}",
)
"""What only somebody says who tells of the inside."""


def faults_of(answer: Answer, token: str = "") -> list[str]:
    """What is wrong with an answer; nothing if it is OK, or a refusal as it must be, or the caller has hung up."""
    if answer.code in ("", "OK"):
        return []
    code, sentence = answer.code, answer.sentence
    faults = [] if code in REFUSALS else [f"it is {code}: {sentence[:300]}"]
    if not sentence:
        faults.append(f"{code} without a word")
    if not REASON.fullmatch(answer.reason) and not OF_GRPC.fullmatch(sentence):
        faults.append(f"{code} without a reason for machines: {sentence[:300]}")
    told = sentence + repr(answer.trailers)
    if (inside := INSIDE.search(told)) is not None:
        faults.append(f"it tells {inside.group()!r} of the inside: {told[:300]}")
    if code == "UNAUTHENTICATED" and token and token in told:
        faults.append(f"it tells the token: {told[:300]}")
    return faults
