"""The consistency audit: do our tables, the bank's ledger and the carrier's ledger tell the same story?

One module for each invariant holds its checks; every check is one set-based statement that returns offending rows.
All of them see one snapshot, and can run on a live system under load: what is in flight is told apart from what is
wrong (`config.audit.scope` says how). The command judges everything, beat judges what has changed since its last look.
"""

from config.audit.checks import Finding
from config.audit.ledgers import LedgerUnavailable
from config.audit.run import CHECKS, Report, audit

__all__ = ["CHECKS", "Finding", "LedgerUnavailable", "Report", "audit"]
