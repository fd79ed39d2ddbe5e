"""The operator log as a file: what the list shows, all of it, for whoever has to prove what was done.

The export is written to the log before it begins. It is read in pages by id and never past that line, so that it holds
no snapshot open however slowly it is fetched, and has an end however much is done meanwhile.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from django.contrib import admin, messages
from django.core.serializers.json import DjangoJSONEncoder
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, StreamingHttpResponse
from django.urls import reverse
from django.views.decorators.http import require_POST

from desk.operator_log import EXPORT
from desk.operators import operator_of, origin_of
from desk.pages import desk_page
from desk.spreadsheets import line_of
from sagas import operator_log
from sagas.models import OperatorAction
from sagas.pursuit import Outcome, outcome_of

# Lines read, and pursued, at once.
PAGE = 1_000
COLUMNS = (
    "id",
    "at",
    "operator",
    "origin",
    "action",
    "order_id",
    "saga_id",
    "case_id",
    "about",
    "reason",
    "reference",
    "approved_by",
    "result",
    "outcome",
    "outcome_at",
    "outcome_error",
    "seen",
)
FORMATS = {"csv": "text/csv; charset=utf-8", "json": "application/json"}


@desk_page("sagas.view_operatoraction", EXPORT)
@require_POST
def export(request: HttpRequest) -> HttpResponse | StreamingHttpResponse:
    """Return the lines that the list shows under the same filters, as CSV or as JSON."""
    log = reverse("admin:sagas_operatoraction_changelist", query=request.GET)
    kind, reason = request.POST.get("format", ""), request.POST.get("reason", "").strip()
    if kind not in FORMATS or not reason:
        messages.error(request, "Nothing was exported: say what it is for, and choose CSV or JSON.")
        return HttpResponseRedirect(log)
    chosen = _chosen(request)
    filters = {name: given for name in request.GET if any(given := request.GET.getlist(name))}
    line = operator_log.write(
        operator=operator_of(request),
        origin=origin_of(request),
        action="export log",
        reason=reason,
        seen={"about": "operator log", "format": kind, "filters": filters},
        result="done",
    )
    rows = _rows(chosen, before=line.pk)
    told = _as_csv(rows) if kind == "csv" else _as_json(rows, line, filters)
    name = f'attachment; filename="operator-log-{line.pk}.{kind}"'
    return StreamingHttpResponse(told, content_type=FORMATS[kind], headers={"Content-Disposition": name})


def _chosen(request: HttpRequest) -> QuerySet[OperatorAction]:
    page = admin.site._registry[OperatorAction]  # noqa: SLF001 - it has no public way to ask
    chosen: QuerySet[OperatorAction] = page.get_changelist_instance(request).get_queryset(request)
    return chosen


def _rows(chosen: QuerySet[OperatorAction], *, before: int) -> Iterator[dict[str, Any]]:
    while page := list(chosen.filter(pk__lt=before).order_by("-pk")[:PAGE]):
        outcomes = outcome_of(page)
        for entry in page:
            yield dict(zip(COLUMNS, _values(entry, outcomes[entry.pk]), strict=True))
        before = page[-1].pk


def _values(entry: OperatorAction, outcome: Outcome) -> list[Any]:
    return [
        entry.pk,
        entry.at.isoformat(),
        entry.operator,
        entry.origin,
        entry.action,
        str(entry.key) if entry.key else None,
        str(entry.saga_id) if entry.saga_id else None,
        entry.case_id,
        entry.seen.get("about"),
        entry.reason,
        entry.reference,
        entry.approved_by,
        entry.result,
        outcome.status,
        outcome.at.isoformat() if outcome.at else None,
        outcome.error,
        entry.seen,
    ]


def _as_csv(rows: Iterator[dict[str, Any]]) -> Iterator[str]:
    yield line_of(COLUMNS)
    for row in rows:
        yield line_of({**row, "seen": json.dumps(row["seen"], ensure_ascii=False)}.values())


def _as_json(rows: Iterator[dict[str, Any]], line: OperatorAction, filters: dict[str, Any]) -> Iterator[str]:
    head = json.dumps({"exported_by": line.operator, "reason": line.reason, "filters": filters}, ensure_ascii=False)
    yield head.removesuffix("}") + ', "lines": ['
    for number, row in enumerate(rows):
        yield ",\n" * bool(number) + json.dumps(row, cls=DjangoJSONEncoder, ensure_ascii=False)
    yield "]}\n"
