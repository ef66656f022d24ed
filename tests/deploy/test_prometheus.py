"""The alert rules that are shipped are valid, and fire when they say and not otherwise.

That the daemon exports the metrics they name is the daemon's test.
"""

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PROMETHEUS = ROOT / "deploy" / "prometheus"


def promtool(*arguments: str) -> str:
    """Runs promtool among the shipped files and returns what it said; what it finds wrong fails the test."""
    found = shutil.which("promtool", path=f"{ROOT / '.venv' / 'tools'}{os.pathsep}{os.environ.get('PATH', '')}")
    if found is None:
        pytest.skip("promtool is not installed (`make tools` gets it from Debian's package prometheus)")
    ran = subprocess.run([found, *arguments], cwd=PROMETHEUS, capture_output=True, text=True, timeout=30, check=False)
    said = ran.stdout + ran.stderr
    assert ran.returncode == 0, said
    return said


def test_sample_configuration_and_its_rules_are_valid() -> None:
    assert "SUCCESS" in promtool("check", "config", "--lint-fatal", "prometheus.yml")


def test_alerts_fire_when_they_say_and_not_otherwise() -> None:
    assert "SUCCESS" in promtool("test", "rules", "hmsact.rules.test.yml")


def test_every_alert_says_how_urgent_it_is_and_what_to_do() -> None:
    for alert in alerts():
        assert alert["labels"]["severity"] in ("page", "ticket"), alert["alert"]
        assert alert["annotations"].keys() == {"summary", "description"}, alert["alert"]


def test_every_alert_has_a_test_by_its_name() -> None:
    tests = (PROMETHEUS / "hmsact.rules.test.yml").read_text()
    assert [alert["alert"] for alert in alerts() if alert["alert"] not in tests] == []


def alerts() -> list[dict[str, Any]]:
    """Reads the alerts of all groups."""
    rules = yaml.safe_load((PROMETHEUS / "hmsact.rules.yml").read_text())
    return [alert for group in rules["groups"] for alert in group["rules"]]
