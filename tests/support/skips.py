"""A skipped test is a failed one where `NO_SKIPS` is set: there, every test is to run.

`.ci/run` sets it. Elsewhere a test that this machine cannot run says so by being skipped.
"""

import os
from collections.abc import Generator
from typing import Any

import pytest

VARIABLE = "NO_SKIPS"
SAID = f"{VARIABLE} is set, and this did not run: "


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Of a test, or of its setup."""
    return _strict((yield))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Of a module that is skipped as a whole."""
    return _strict((yield))


def _strict(report: Any) -> Any:
    if report.skipped and os.environ.get(VARIABLE):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.longrepr = SAID + (
            getattr(report, "wasxfail", "") or str(reason).removeprefix("Skipped: ")
        )
        report.outcome = "failed"
    return report
