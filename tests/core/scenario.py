"""Life stories of operations, told in text files: what it was told, and below each line what came of it.

A story begins with comments and a JSON definition. Every line that begins with a time tells the operation something;
the indented lines below it are its answer: what has happened, how it stands ("="), what is outstanding (">"), or why
it was rejected ("!"). `python -m tests.core.scenario` plays all stories again and writes the answers anew.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

from hmsactd.core import inputs as i
from hmsactd.core.principal import Principal
from hmsactd.core.rejected import Rejected
from hmsactd.definition.bounds import Bounds
from hmsactd.definition.flow import Flow
from hmsactd.definition.read import Defaults, read
from tests.core.dialogue import CAST, Dialogue

GOLDEN = Path(__file__).parent / "golden"

DEFAULTS = Defaults(assign={"fsa.officer": "dev:jdavis"})

Telling = Callable[[Dialogue, re.Match[str]], list[str]]


def stories() -> list[Path]:
    return sorted(GOLDEN.glob("*.txt"))


def play(text: str) -> tuple[str, Dialogue]:
    """The story with the answers as they are now, and the dialogue that gave them."""
    head, flow, lines = _parts(text)
    written, talk = [head], Dialogue(flow)
    for line in lines:
        offset, told = line.split(maxsplit=1)
        talk.at(offset.removeprefix("+"))
        written += ["", line, *(f"    {said}" for said in _answer(talk, told))]
    return "\n".join(written) + "\n", talk


def _parts(text: str) -> tuple[str, Flow, list[str]]:
    head, _, rest = text.partition("\n+")
    _, brace, definition = head.partition("{")
    flow = read((brace + definition).encode(), DEFAULTS, Bounds())
    return head.rstrip(), flow, [line for line in ("+" + rest).splitlines() if line.startswith("+")]


def _answer(talk: Dialogue, told: str) -> list[str]:
    try:
        happened = _tell(talk, told)
    except Rejected as rejected:
        noted, talk.noted = talk.noted, []
        return [f"! {rejected.ground} {rejected.code}: {rejected.sentence}", *noted]
    waits = [f"> {effect}" for effect in talk.outstanding()]
    return [*(happened or ["nothing"]), f"= {talk.standing()}", *waits]


def _tell(talk: Dialogue, told: str) -> list[str]:
    for pattern, telling in TELLINGS.items():
        match = re.fullmatch(pattern, told)
        if match is not None:
            return telling(talk, match)
    raise AssertionError(f"nobody understands: {told}")


def _who(match: re.Match[str], group: int = 1) -> Principal:
    return CAST[match[group]]


def _attempt(match: re.Match[str]) -> int | None:
    number = match["attempt"]
    return int(number) if number else None


def _fail(talk: Dialogue, match: re.Match[str]) -> list[str]:
    is_for_good = match["for_good"] is not None
    return talk.fail(match[1], match[2], attempt=_attempt(match), permanently=is_for_good, wish=match["wish"])


def _decide(talk: Dialogue, match: re.Match[str]) -> list[str]:
    seen = {"": talk.checkpoint(match[3]).digest, " unseen": None, " on old paper": "0" * 64}[match[4]]
    return talk.hear(i.Decide(_who(match), match[3], match[2] == "approves", seen))


ATTEMPT = r"(?: as attempt (?P<attempt>\d+))?"

TELLINGS: dict[str, Telling] = {
    r"(\w+) starts": lambda talk, match: talk.start(_who(match)),
    r"\w+ takes (\w+)" + ATTEMPT: lambda talk, match: talk.take(match[1], attempt=_attempt(match)),
    r"\w+ finishes (\w+)" + ATTEMPT: lambda talk, match: talk.finish(match[1], attempt=_attempt(match)),
    r"\w+ fails (\w+) with (\w+)(?P<for_good> for good)?(?:, wishing (?P<wish>\w+))?" + ATTEMPT: _fail,
    r"\w+ defers (\w+)(?: for (?P<within>\w+))?" + ATTEMPT: lambda talk, match: talk.defer(
        match[1], within=match["within"], attempt=_attempt(match)
    ),
    r"\w+ completes (\w+)" + ATTEMPT: lambda talk, match: talk.complete(match[1], attempt=_attempt(match)),
    r"\w+ gives (\w+) up with (\w+)(?P<for_good> for good)?" + ATTEMPT: lambda talk, match: talk.give_up(
        match[1], match[2], attempt=_attempt(match), permanently=match["for_good"] is not None
    ),
    r"hmsactd loses the worker of (\w+)": lambda talk, match: talk.lose(match[1]),
    r"hmsactd misses the heartbeat of (\w+)": lambda talk, match: talk.miss_heartbeat(match[1]),
    r"hmsactd wakes": lambda talk, _match: talk.wake(),
    r"hmsactd finds nobody for (\w+)": lambda talk, match: talk.find_nobody(match[1]),
    r"(\w+) (approves|rejects) (\w+)( unseen| on old paper|)": _decide,
    r"(\w+) is noted for (\w+) at (\w+)": lambda talk, match: talk.note_refusal(_who(match), match[3], match[2]),
    r"(\w+) claims (\w+)": lambda talk, match: talk.claim(_who(match), match[2]),
    r"(\w+) releases (\w+)": lambda talk, match: talk.release(_who(match), match[2]),
    r"(\w+) assigns (\w+) to (\w+)": lambda talk, match: talk.assign(_who(match), match[2], _who(match, 3)),
    r"(\w+) pauses": lambda talk, match: talk.pause(_who(match)),
    r"(\w+) pauses with the clock stopped": lambda talk, match: talk.pause(_who(match), stop_clock=True),
    r"(\w+) resumes": lambda talk, match: talk.resume(_who(match)),
    r"(\w+) cancels": lambda talk, match: talk.cancel(_who(match)),
    r"(\w+) retries (\w+)": lambda talk, match: talk.retry(match[2], _who(match)),
    r"(\w+) skips (\w+)": lambda talk, match: talk.skip(match[2], _who(match)),
}


def main() -> None:
    for path in stories():
        before = path.read_text("utf-8")
        after, _ = play(before)
        if after != before:
            path.write_text(after, "utf-8")
            sys.stdout.write(f"written anew: {path.name}\n")


if __name__ == "__main__":
    main()
