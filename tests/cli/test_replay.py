"""`hmsactd replay`: the story of an export, and whether it could have happened."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from hmsactd.cli import main
from hmsactd.core.events import Event
from hmsactd.core.operation import Operation
from hmsactd.timeline.codec import Place, draft
from tests.core.dialogue import CITIZEN, JDAVIS, begun, checkpoint, step

PLACE = Place("tower/log/0", 1, "default", "op_1")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "op_1.json"


def replay(file: Path) -> Result:
    return CliRunner().invoke(main, ["replay", str(file)])


def a_story() -> tuple[list[Event], Operation]:
    talk = begun(step("check", "IRS"), checkpoint("review"))
    talk.take("check")
    talk.finish("check")
    talk.approve(JDAVIS, "review")
    return talk.events, talk.operation


def records(history: Sequence[Event], operation: Operation) -> list[dict[str, Any]]:
    """The records of a history, as a daemon writes them."""
    written = []
    for sequence, event in enumerate(history, 1):
        name = operation.name_of(event.instance) if hasattr(event, "instance") else None
        written.append(json.loads(draft(event, name, PLACE, sequence).record(sequence, "null")))
    return written


def export(file: Path, told: Sequence[dict[str, Any]]) -> Path:
    lines = [{"record": json.dumps(each)} for each in told]
    file.write_text(json.dumps({"format": "hmsact-export/1", "records": lines}))
    return file


def test_story_is_told_event_by_event_with_where_it_has_led(file: Path) -> None:
    ran = replay(export(file, records(*a_story())))
    assert ran.exit_code == 0
    lines = ran.stdout.splitlines()
    assert [line.split()[2] for line in lines[:6]] == [
        "operation_started",
        "step_started",
        "step_done",
        "checkpoint_pending",
        "checkpoint_approved",
        "operation_completed",
    ]
    assert "check" in lines[1]
    assert "dev:svc/IRS" in lines[1]
    assert "attempt=1" in lines[1]
    assert lines[6:] == [
        "flow is completed",
        "  check                    done",
        "  review                   approved",
        f"6 events, all by the rules. Whether they are the daemon's own: hmsact verify {file}",
    ]


def test_first_event_against_the_rules_is_named_and_the_story_ends_before_it(file: Path) -> None:
    history, operation = a_story()
    history[4] = replace(history[4], by=replace(CITIZEN, roles=("fsa.officer",)))
    ran = replay(export(file, records(history, operation)))
    assert ran.exit_code == 1
    assert ran.stderr.startswith("hmsactd: event 5 breaks the rules: dev:citizen started the operation")
    assert "checkpoint_approved" not in ran.stdout
    assert "flow is waiting" in ran.stdout


def test_event_of_an_unknown_kind_ends_the_judgement(file: Path) -> None:
    told = records(*a_story())
    told[3]["kind"] = "steps_pushed"
    ran = replay(export(file, told))
    assert ran.exit_code == 3
    assert ran.stderr == "hmsactd: event 4 is a steps_pushed, which this version doesn't know\n"


def test_fault_before_an_unknown_kind_is_told_first(file: Path) -> None:
    told = records(*a_story())
    told[1]["subject"]["attempt"] = 7
    told[4]["kind"] = "steps_pushed"
    ran = replay(export(file, told))
    assert ran.exit_code == 1
    assert "event 2 breaks the rules" in ran.stderr


def test_missing_event_is_found_by_its_number(file: Path) -> None:
    told = records(*a_story())
    del told[2]
    ran = replay(export(file, told))
    assert ran.exit_code == 1
    assert "doesn't hold every event once and in order" in ran.stderr


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "{}", '{"records": 1}', '{"records": [{}]}', '{"records": [{"record": "{}"}]}', "[" * 100_000],
)
def test_what_is_no_export_is_refused_as_such(file: Path, text: str) -> None:
    file.write_text(text)
    ran = replay(file)
    assert ran.exit_code == 2
    assert ran.stderr.startswith(f"hmsactd: {file} is not an export: ")
    assert ran.stderr.count("\n") == 1


def test_missing_file_is_refused(file: Path) -> None:
    ran = replay(file)
    assert (ran.exit_code, ran.stderr) == (2, f"hmsactd: {file} can't be read: No such file or directory\n")


def test_words_of_an_export_cannot_drive_the_terminal(file: Path) -> None:
    told = records(*a_story())
    told[1]["principal"]["subject"] = "\x1b[2Jsvc/IRS\nforged"
    ran = replay(export(file, told))
    assert "\x1b" not in ran.output
    assert "\nforged" not in ran.output
