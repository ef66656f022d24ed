"""What holds for every test: the order they run in, what becomes of a skipped one, what is measured, and no luck.

Fixtures live beside the tests that need them, not here.
"""

import os
from collections.abc import Generator
from pathlib import Path

import hypothesis
import pytest

TESTS = Path(__file__).parent

# Fast first, so that a broken rule is not reported by a crash test ten minutes later. Any other folder runs between.
FIRST = ("core", "definition", "hmsact", "timeline", "store", "engine", "identity", "rpc", "http", "deploy")
LAST = ("daemon", "e2e", "stories", "browser", "crash")

# With --cov these have to reach every branch of what [tool.coverage] in pyproject.toml names. They need no daemon and
# no luck; all other tests run unmeasured, since their figures are of the daemon's speed.
MEASURED = ("account", "core", "definition", "engine", "jobs", "store", "timeline")

hypothesis.settings.register_profile("project", derandomize=True, deadline=None)
hypothesis.settings.load_profile("project")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Runs the folders in their order, where inside a folder the order stays; measures some of them."""
    items.sort(key=lambda item: _rank(_folder(item)))
    for item in items:
        if _folder(item) not in MEASURED:
            item.add_marker("no_cover")


def _folder(item: pytest.Item) -> str:
    return item.path.relative_to(TESTS).parts[0] if item.path.is_relative_to(TESTS) else ""


def _rank(folder: str) -> int:
    if folder in FIRST:
        return FIRST.index(folder) - len(FIRST)
    if folder in LAST:
        return LAST.index(folder) + 1
    return 0


def _is_ci() -> bool:
    return os.environ.get("CI", "").lower() in ("1", "true")


def _fail_if_skipped(report: pytest.TestReport | pytest.CollectReport) -> None:
    """With CI=true nothing may be left out unseen; an expected failure (xfail) is no skip."""
    if report.skipped and _is_ci() and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, which is a failure with CI=true: {_reason(report)}"


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    told = report.longrepr
    reason = told[2] if isinstance(told, tuple) else str(told)
    return reason.removeprefix("Skipped: ")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turns a skipped test into a failed one in CI."""
    report = yield
    _fail_if_skipped(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Turns a module skipped as a whole into a failed one in CI."""
    report = yield
    _fail_if_skipped(report)
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Names at the end what this machine could not run, and why."""
    skipped = terminalreporter.stats.get("skipped", [])
    if not skipped:
        return
    terminalreporter.section("could not run on this machine")
    for report in skipped:
        terminalreporter.line(f"{report.nodeid}: {_reason(report)}")
