"""Compares the ledgers of bank and carrier with our tables now, as beat does every half minute."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import payments.reconciliation
import shipping.reconciliation
from outbox.commands import OperatorCommand, Table, found
from outbox.consumers import TransientError


class Command(OperatorCommand):
    """`reconcile`: exit code 1 when it found what nobody was told of before."""

    help = "Compare the ledgers of bank and carrier with our tables, and settle what differs."
    refusals = (TransientError,)

    def handle(self, *_args: Any, **_options: Any) -> None:
        """Print what was compared, repaired, is watched, and was found."""
        sweeps = (payments.reconciliation.reconcile(), shipping.reconciliation.reconcile())
        reports = [report for report in sweeps if report is not None]
        findings = [finding for report in reports for finding in report.findings]
        tables = [
            Table(
                ["ledger", "entries", "repaired", "watched", "findings"],
                [[r.ledger, r.entries, r.repaired, r.watched, len(r.findings)] for r in reports],
            )
        ]
        if findings:
            rows = [[f.finding, f.order_id, f.key, f.detail] for f in findings]
            tables.append(Table(["finding", "order", "key", "detail"], rows))
        self.show([asdict(report) for report in reports], *tables)
        if findings:
            raise found(f"{len(findings)} findings")
