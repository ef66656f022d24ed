"""A call as the engine hands it over."""

from __future__ import annotations

import time

from hmsactd.engine.session import AttemptKey, Call

OPERATION = "op_01m84sf2pm8t332z7xy7r8b94t"


def call(attempt: int = 1, **said: object) -> Call:
    facts: dict[str, object] = {
        "key": AttemptKey(OPERATION, 3, attempt),
        "step": "update_balance",
        "definition": "loan_forgiveness",
        "idempotency_key": f"{OPERATION}/3",
        "deadline_at": None,
        "heartbeat_ms": None,
        "input": b'{"loan":"FSA-1","name":"Zo\\u00eb"}',
        "outputs": {"eligibility_check": b'{"eligible":true}', "notify": b"null"},
        "skipped": ("notify",),
        "left_out": ("scan",),
        "completion_token": "done_abc",
    }
    return Call(**{**facts, **said})  # type: ignore[arg-type]


def soon(seconds: float = 20) -> int:
    """A deadline in so many seconds."""
    return time.time_ns() // 1000 + round(seconds * 1e6)
