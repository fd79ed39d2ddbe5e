"""The rows of a bulk run as a file, for whoever has to prove or to go on with what came of it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from django.core.serializers.json import DjangoJSONEncoder
from django.http import HttpResponse

from desk.bulk.models import BulkRow, BulkRun
from desk.spreadsheets import line_of
from outbox.money import to_text

COLUMNS = (
    "position",
    "case",
    "order_id",
    "failure_group",
    "step",
    "amount",
    "currency",
    "outcome",
    "result",
    "next_case",
    "operator_log",
    "at",
)


def as_csv(run: BulkRun) -> HttpResponse:
    """Return the rows as CSV, the first line with the names. A text that looks like a formula is made harmless."""
    return HttpResponse("".join(_lines(run)), content_type="text/csv; charset=utf-8", headers=_name(run, "csv"))


def as_json(run: BulkRun) -> HttpResponse:
    """Return the run and its rows as JSON."""
    told = {
        "bulk_run": run.pk,
        "action": run.action,
        "phase": run.phase,
        "note": run.note,
        "source": run.source,
        "requested_by": run.requested_by,
        "requested_at": run.requested_at,
        "started_by": run.started_by,
        "started_at": run.started_at,
        "stopped_by": run.stopped_by,
        "stopped_at": run.stopped_at,
        "ended_at": run.ended_at,
        "reason": run.reason,
        "reference": run.reference,
        "per_second": run.per_second,
        "cases": list(_rows(run)),
    }
    text = json.dumps(told, cls=DjangoJSONEncoder, indent=2, ensure_ascii=False)
    return HttpResponse(text, content_type="application/json", headers=_name(run, "json"))


def _rows(run: BulkRun) -> Iterator[dict[str, Any]]:
    for row in run.rows.order_by("position").iterator(chunk_size=1_000):
        yield dict(zip(COLUMNS, _values(row), strict=True))


def _values(row: BulkRow) -> list[Any]:
    amount = None if row.amount is None else to_text(minor_units=row.amount, currency=row.currency)
    return [
        row.position,
        row.case_id,
        row.key,
        row.group,
        row.step,
        amount,
        row.currency,
        row.get_status_display(),
        row.result,
        row.next_case_id,
        row.action_id,
        row.at,
    ]


def _lines(run: BulkRun) -> Iterator[str]:
    yield line_of(COLUMNS)
    for row in _rows(run):
        yield line_of(row.values())


def _name(run: BulkRun, ending: str) -> dict[str, str]:
    return {"Content-Disposition": f'attachment; filename="bulk-run-{run.pk}.{ending}"'}
