"""Asks whether our tables, the bank's ledger and the carrier's ledger tell the same story."""

from __future__ import annotations

from argparse import ArgumentParser
from dataclasses import asdict
from datetime import datetime
from typing import Any

from config.audit import LedgerUnavailable, Report, audit
from outbox.commands import OperatorCommand, Table, found, time_of

# So many findings are shown by name; the rest is counted. JSON has them all.
SHOWN = 100


class Command(OperatorCommand):
    """`audit_consistency [--since T]`: exit code 1 on any finding."""

    help = "Check the invariants of money, stock, goods, sagas, messages, answers and the trail."
    refusals = (LedgerUnavailable,)

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        super().add_arguments(parser)
        parser.add_argument("--since", type=time_of, metavar="T", help="judge what has changed since then, in ISO 8601")

    def handle(self, *_args: Any, since: datetime | None, **_options: Any) -> None:
        """Print the findings."""
        report = audit(since=since)
        self.show(
            {
                "at": report.at,
                "since": report.since,
                "keys": report.keys,
                "judged": report.judged,
                "checks": report.checks,
                "findings": [asdict(finding) for finding in report.findings],
                "seconds": round(report.seconds, 3),
            },
            _table(report)
            if report.findings
            else f"{report.checks} checks of {report.judged} settled orders, 0 findings",
        )
        if report.findings:
            raise found(f"{len(report.findings)} findings")


def _table(report: Report) -> Table:
    return Table(
        ["invariant", "rule", "key", "found"],
        [[f.invariant, f.says, f.key, f.detail] for f in report.findings[:SHOWN]],
    )
