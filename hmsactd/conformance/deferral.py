"""A scenario about a call that is deferred: it is in nobody's hands, and the agency completes it with its token."""

from __future__ import annotations

import json
from typing import Final

from hmsact.v1 import worker_pb2 as pb

from hmsactd.conformance.stage import Stage
from hmsactd.conformance.unmet import NotApplicable, expect

STEP: Final = "later"
"""The step of a test build that defers; a build that has none is not asked to."""

LATER_S: Final = 2
"""How much later: time enough to cut the connection, and to look what is still in hand."""


async def completes_what_it_defers(stage: Stage) -> None:
    """A deferred call is forgotten by the worker, and completed with its token from wherever."""
    if STEP not in stage.hellos()[-1].steps:
        raise NotApplicable(f"the worker names no step `{STEP}`: it defers nothing")
    operation_id = await stage.start(STEP, {"seconds": LATER_S})
    report = await stage.report(operation_id)
    expect(report.HasField("deferred"), f"`{STEP}` reported as deferred", f"it was {report.WhichOneof('outcome')}")
    verdict = await stage.verdict(operation_id)
    kind = pb.VerdictKind.Name(verdict.kind)
    expect(verdict.kind == pb.VERDICT_KIND_RECORDED, "a deferral that is recorded", f"it is {kind}: {verdict.reason}")
    mark = stage.transcript.mark
    stage.relay.cut()
    hello = await stage.hello(mark)
    held = [attempt for attempt in hello.in_hand if attempt.operation_id == operation_id]
    expect(not held, "a call that was deferred to be forgotten", "the next hello still has it in hand")
    operation = await stage.ended(operation_id, "completed", LATER_S + stage.patience_s)
    output, expected = json.loads(operation.output), {"attempt": 1}
    expect(output == expected, f"{expected} as the output it is completed with", f"it was {output}")
