"""Compares the ledgers of bank and carrier with our tables now, as beat does every half minute."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import payments.reconciliation
import shipping.reconciliation
from outbox.commands import OperatorCommand, Table, found, operator_name, origin_name
from outbox.consumers import TransientError
from outbox.reconciliation import Report
from sagas import operator_log


class Command(OperatorCommand):
    """`reconcile`: exit code 1 when it found what nobody was told of before."""

    help = "Compare the ledgers of bank and carrier with our tables, and settle what differs."
    refusals = (TransientError,)

    def handle(self, *_args: Any, **_options: Any) -> None:
        """Print what was compared, repaired, is watched, and was found."""
        reports = _sweep()
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


def _sweep() -> list[Report]:
    """Compare both ledgers, and leave a line in the operator log, also of a comparison that broke off."""
    reports: list[Report] = []
    result = "failed"
    try:
        for reconcile in (payments.reconciliation.reconcile, shipping.reconciliation.reconcile):
            report = reconcile()
            reports += [report] if report is not None else []
        result = "done"
    finally:
        operator_log.write(
            operator=operator_name(),
            origin=origin_name(),
            action="reconcile",
            reason="by command",
            seen={
                "about": "ledgers",
                "repaired": {report.ledger: report.repaired for report in reports},
                "findings": {report.ledger: len(report.findings) for report in reports},
            },
            result=result,
        )
    return reports
