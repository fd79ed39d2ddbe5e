"""Asks whether our tables, the bank's ledger and the carrier's ledger tell the same story."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from config.audit import CHECKS, NAMED, LedgerUnavailable, audit
from outbox.commands import OperatorCommand, Table, found


class Command(OperatorCommand):
    """`audit_consistency`: exit code 1 on any finding."""

    help = "Check the invariants of money, stock, goods, sagas, messages, answers and the trail."
    refusals = (LedgerUnavailable,)

    def handle(self, *args: Any, **options: Any) -> None:
        """Print the findings, at most a hundred by name."""
        findings = audit()
        self.show(
            {"checks": len(CHECKS), "findings": [asdict(finding) for finding in findings]},
            Table(
                ["invariant", "rule", "key", "found"],
                [[f.invariant, f.says, f.key, f.detail] for f in findings[:NAMED]],
            )
            if findings
            else f"{len(CHECKS)} checks, 0 findings",
        )
        if findings:
            raise found(f"{len(findings)} findings")
