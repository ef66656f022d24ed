"""The page for agencies says what is checked, and every failed check leads to a paragraph that is there."""

from __future__ import annotations

import re
from pathlib import Path

from hmsactd.conformance.check import PAGE
from hmsactd.conformance.steps import STEPS
from hmsactd.conformance.worker import CHECKS

TEXT = (Path(__file__).parents[2] / PAGE).read_text("utf-8")
ANCHORS = {heading.lower().replace(" ", "-") for heading in re.findall(r"^#+ (.+)$", TEXT, re.MULTILINE)}


def test_every_check_leads_to_a_paragraph_of_the_page() -> None:
    assert [check.read for check in CHECKS if check.section not in ANCHORS] == []


def test_every_link_within_the_page_leads_somewhere() -> None:
    assert [anchor for anchor in re.findall(r"\]\(#([^)]+)\)", TEXT) if anchor not in ANCHORS] == []


def test_the_page_lists_every_check_and_every_step_of_the_test_build() -> None:
    rows = set(re.findall(r"^\| `(\w+)` \|", TEXT, re.MULTILINE))
    assert {check.name for check in CHECKS} | set(STEPS) <= rows
