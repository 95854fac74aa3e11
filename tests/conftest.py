"""Settings for all tests: examples are drawn the same way on every run; HYPOTHESIS_PROFILE=explore draws new ones.

With `--installed` a test that is skipped fails the run, unless it needs something else than a package.
"""

from __future__ import annotations

import os
from typing import Final

import pytest
from hypothesis import settings

settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.register_profile("explore", derandomize=False, deadline=None, max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))

NO_PACKAGE: Final = (
    *("LEADTIME_RELEASES", "torch is installed", "LeRobot is installed", "LeRobot is older than 0.6", "there is a GPU"),
    "lerobot 0.4.4 decodes through torchvision below 0.24",
)
"""What a test may be skipped for all the same."""


class Installed:
    """Fails a run in which a test was skipped for want of a package."""

    def __init__(self) -> None:
        self._skipped: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._note(report)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self._note(report)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self._skipped and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for line in self._skipped:
            terminalreporter.write_line(f"SKIPPED, and everything is to be installed: {line}")

    def _note(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        if report.skipped and isinstance(report.longrepr, tuple):
            reason = report.longrepr[2]
            if not any(known in reason for known in NO_PACKAGE):
                self._skipped.append(f"{report.nodeid}: {reason}")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--installed", action="store_true", help="fail where a test is skipped for want of a package")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("installed"):
        config.pluginmanager.register(Installed())
