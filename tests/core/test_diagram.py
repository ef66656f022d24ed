"""The diagrams are drawn from the tables, and ARCHITECTURE.md has them as they are now."""

import re
from pathlib import Path

import pytest

from hmsactd.core.diagram import BEGIN, END, MarkersMissing, draw, main, replaced
from hmsactd.core.transitions import CHECKPOINT, ENDS, FOLLOWS, STEP

ARCHITECTURE = Path(__file__).parents[2] / "ARCHITECTURE.md"


def test_architecture_shows_the_diagrams_as_they_are() -> None:
    assert ARCHITECTURE.exists(), "ARCHITECTURE.md is missing"
    text = ARCHITECTURE.read_text("utf-8")
    assert replaced(text) == text, "the diagrams in ARCHITECTURE.md are old: run `make diagram`"


def test_every_row_of_the_tables_is_an_arrow() -> None:
    arrows = re.findall(r"^ *(\w+) --> (\w+): (.*)$", draw(), re.MULTILINE)
    drawn = {(old, new, trigger) for old, new, label in arrows for trigger in label.split(" / ")}
    for (old, trigger), new in (STEP | CHECKPOINT).items():
        assert (old.value, new.value, trigger) in drawn
    for kind, state in ENDS.items():
        assert ("open", state.value, kind) in drawn


def test_every_state_an_operation_can_follow_to_is_drawn() -> None:
    operation = draw().split("```")[1]
    assert {state.value for state in [*FOLLOWS.values(), *ENDS.values()]} <= set(re.findall(r"\w+", operation))
    assert "stalled --> running: step_retried / step_skipped" in operation
    assert "running --> waiting: step_failed, retry ahead / checkpoint_pending" in operation


def test_only_what_is_between_the_markers_is_replaced() -> None:
    assert replaced(f"before\n{BEGIN}\nold\n{END}\nafter\n") == f"before\n{BEGIN}\n{draw()}\n{END}\nafter\n"


@pytest.mark.parametrize("text", ["", BEGIN, END, f"{END}{BEGIN}"])
def test_a_text_without_a_place_for_them_is_refused(text: str) -> None:
    with pytest.raises(MarkersMissing, match="there is no line"):
        replaced(text)


def test_the_command_prints_them(capsys: pytest.CaptureFixture[str]) -> None:
    main([])
    assert capsys.readouterr().out == draw() + "\n"


def test_the_command_writes_them_where_they_belong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "page.md"
    path.write_text(f"{BEGIN}{END}", "utf-8")
    main(["--write", str(path)])
    assert path.read_text("utf-8") == f"{BEGIN}\n{draw()}\n{END}"
    path.write_text("no place", "utf-8")
    with pytest.raises(SystemExit):
        main(["--write", str(path)])
    assert "there is no line" in capsys.readouterr().err
