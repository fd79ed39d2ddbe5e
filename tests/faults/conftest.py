"""What the tests of faults have in common: figures that they measure are shown at the end, whoever ran them."""

from __future__ import annotations

import pytest

from tests.faults.seeded.report import SEEDED, tell
from tests.flushing import django_db_setup
from tests.messaging import wiring

__all__ = ["django_db_setup", "wiring"]

# A test says `record_property(FIGURES, text)`.
FIGURES = "figures"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show the figures of all tests, which worker processes could not print themselves, and the seeded bugs."""
    seeded = []
    for outcome in ("passed", "failed"):
        for report in terminalreporter.getreports(outcome):
            for name, value in report.user_properties:
                if name == FIGURES and report.when == "call":
                    terminalreporter.section(report.nodeid, sep="-")
                    terminalreporter.write_line(str(value))
                elif name == SEEDED and report.when == "call":
                    seeded.append(value)
    if seeded:
        tell(seeded)
