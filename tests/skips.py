"""With CI=true a skipped test is a failure: what is skipped without a word is not tested, and nobody knows.

A pytest plugin; `conftest.py` brings it in.
"""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import TypeVar

import pytest

ALLOWED = {"the paper's data is not here": "it is the paper's authors', so it is not in this repository"}
"""Reasons that may stand in CI too, with why."""

R = TypeVar("R", pytest.TestReport, pytest.CollectReport)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn the skip of a test into a failure."""
    report = yield
    return _strict(report)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Turn the skip of a module into an error."""
    report = yield
    return _strict(report)


def _strict(report: R) -> R:
    expected_to_fail = hasattr(report, "wasxfail")
    if os.environ.get("CI") == "true" and report.skipped and not expected_to_fail:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        if reason.removeprefix("Skipped: ") not in ALLOWED:
            report.outcome = "failed"
            report.longrepr = (
                f"{reason}\nWith CI=true a skip is a failure; tests/skips.py lists the reasons that may be."
            )
    return report
