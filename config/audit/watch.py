"""The scheduled audit: it judges what has changed since its last look, and tells of what it finds.

It looks back further than its last look, so that what was in flight then is judged now. What it has found is a log
line of level error, a gauge, and one case for each kind of finding: a bug concerns many orders and one person.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from uuid import NAMESPACE_URL, uuid5

import structlog
from django.db import transaction
from prometheus_client import Gauge

from config.audit.checks import Finding
from config.audit.ledgers import LedgerUnavailable
from config.audit.run import CHECKS, Report, audit
from config.models import AuditRun
from sagas.instances import CaseFile, Changes, database_now

FINDINGS = Gauge(
    "audit_findings", "What the last audit found, by invariant", ["invariant"], multiprocess_mode="mostrecent"
)
LAST_RUN = Gauge(
    "audit_last_run_timestamp_seconds", "When the last audit came to its end", multiprocess_mode="mostrecent"
)

# Longer than anything stays in flight by itself: the tolerance for late charges, and two missed runs.
OVERLAP = timedelta(minutes=15)
# How far back the first look goes: all of history is for the command.
FIRST_LOOK = timedelta(days=1)
# Findings that are kept with a run; the log has them all.
KEPT = 100
KEEP_RUNS = timedelta(days=30)

DESTINATION = "audit"
_KINDS = uuid5(NAMESPACE_URL, "saga-bridge:audit")

log = structlog.get_logger(__name__)


def look() -> Report | None:
    """Audit what has changed since the last look. Returns None when a ledger cannot be read: the next look will."""
    last = AuditRun.objects.order_by("-at").first()
    now = database_now()
    since = now - FIRST_LOOK if last is None else last.at - OVERLAP
    try:
        report = audit(since=since)
    except LedgerUnavailable as error:
        log.warning("audit.ledger.unavailable", error=str(error))
        return None
    _note(report, since, now)
    return report


def _note(report: Report, since: datetime, now: datetime) -> None:
    with transaction.atomic():
        AuditRun.objects.filter(at__lt=now - KEEP_RUNS).delete()
        AuditRun.objects.create(
            at=report.at,
            since_at=since,
            keys=report.keys,
            findings=[asdict(finding) for finding in report.findings[:KEPT]],
        )
        _open_cases(report.findings, now)
    for invariant in sorted({check.invariant for check in CHECKS}):
        FINDINGS.labels(invariant).set(sum(finding.invariant == invariant for finding in report.findings))
    LAST_RUN.set(report.at.timestamp())
    for finding in report.findings:
        log.error("audit.finding", **asdict(finding))
    log.info(
        "audit.done",
        keys=report.keys,
        judged=report.judged,
        findings=len(report.findings),
        seconds=round(report.seconds, 3),
    )


def _open_cases(findings: Sequence[Finding], now: datetime) -> None:
    changes = Changes(now)
    for kind in dict.fromkeys((finding.invariant, finding.says) for finding in findings):
        alike = [finding for finding in findings if (finding.invariant, finding.says) == kind]
        kind_id = uuid5(_KINDS, f"{kind[0]}:{kind[1]}")
        changes.cases.append(
            CaseFile(
                key=kind_id,
                error_class="AuditFinding",
                error=f"{kind[0]}, {kind[1]}: {len(alike)} findings, such as {alike[0].key}: {alike[0].detail}",
                fingerprint=f"audit:{kind[0]}",
                # One open case for each kind: whoever works on it has it already.
                message_id=kind_id,
                destination=DESTINATION,
            )
        )
    changes.write()
