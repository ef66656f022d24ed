"""What a command that changes something says when it has been recorded."""

from __future__ import annotations

from dataclasses import asdict

from hmsact.commands.invocation import Invocation
from hmsact.commands.show import state
from hmsact.recorded import Recorded


def say_recorded(invocation: Invocation, operation_id: str, done: str, recorded: Recorded) -> None:
    """Prints what was done, and where it left the operation."""
    invocation.say(
        {"operation_id": operation_id, **asdict(recorded)},
        f"{operation_id} {done}; it is {state(recorded.state)} (event {recorded.sequence})",
    )
