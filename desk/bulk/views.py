"""The pages of a bulk run: what would happen, how far it has come, what came of each case; and its buttons."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.template.response import TemplateResponse
from django.urls import reverse
from django.views.decorators.http import require_GET, require_POST
from unfold.widgets import (
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminTextareaWidget,
    UnfoldAdminTextInputWidget,
    UnfoldBooleanWidget,
)

from desk.actions import ACTIONS
from desk.bulk import export, pages, services
from desk.bulk.models import AT_WORK, LIVE, UNSETTLED, BulkRow, BulkRun
from desk.bulk.selection import freeze_and_show
from desk.operators import operator_of, origin_of
from desk.pages import desk_page
from desk.pages import show as show_page
from sagas.engine import Refused

ROWS_PER_PAGE = 50
# How often the page asks: while rows are being done, and while it only waits for what comes of them.
POLL_SECONDS = 1
PATIENT_POLL_SECONDS = 5

VIEW = "desk.view_bulkrun"


class StartForm(forms.Form):
    """Why it is wanted, how fast, and whether it goes on by itself."""

    reason = forms.CharField(
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        help_text="The next person will read it. It goes into the operator log with every case.",
    )
    reference = forms.CharField(
        widget=UnfoldAdminTextInputWidget(),
        help_text="Where it can be looked up: a transfer, a ticket, a letter. One for all of these cases.",
    )
    per_second = forms.IntegerField(
        label="Cases a second",
        initial=5,
        min_value=1,
        max_value=services.MOST_PER_SECOND,
        widget=UnfoldAdminIntegerFieldWidget(),
        help_text=f"At most {services.MOST_PER_SECOND}. Go slowly where the other side has just come back.",
    )
    goes_on = forms.BooleanField(
        label="Go on by itself if the first one succeeds",
        required=False,
        widget=UnfoldBooleanWidget(),
        help_text="Otherwise it waits for you after the first one.",
    )

    def __init__(self, *args: Any, run: BulkRun, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not ACTIONS[run.action].needs_reference:
            del self.fields["reference"]


@desk_page(VIEW, services.PERMISSION)
@require_POST
def new(request: HttpRequest) -> HttpResponse:
    """Freeze the cases that were sent, or those of a failure group, and lead to the preview."""
    action, source = request.POST.get("action", ""), request.POST.get("source", "")
    if (group := request.POST.get("group")) is not None:
        chosen = services.open_cases_of(fingerprint=group)
        source = source or "all open cases of a failure group"
    else:
        sent = request.POST.getlist("case") or request.POST.getlist("_selected_action")
        chosen = [int(number) for number in sent if number.isdecimal() and len(number) < 19]
    shown = freeze_and_show(request, case_ids=chosen, action=action, source=source)
    return shown or HttpResponseRedirect(reverse("admin:sagas_case_changelist"))


@desk_page(VIEW)
@require_GET
def show(request: HttpRequest, run_id: int) -> HttpResponse:
    """Show a run: the preview until it is started, then how far it has come."""
    return _show(request, get_object_or_404(BulkRun, pk=run_id))


@desk_page(VIEW)
@require_GET
def live(request: HttpRequest, run_id: int) -> HttpResponse:
    """Return the part of the page that changes."""
    run = get_object_or_404(BulkRun, pk=run_id)
    return TemplateResponse(request, "desk/bulk_live.html", {**_progress(request, run), "is_poll": True})


@desk_page(VIEW, services.PERMISSION)
@require_POST
def start(request: HttpRequest, run_id: int) -> HttpResponse:
    """Start it, with what the form says."""
    run = get_object_or_404(BulkRun, pk=run_id)
    form = StartForm(request.POST, run=run)
    if not form.is_valid():
        return _show(request, run, form=form)
    return _do(request, run, services.start, form=form, **form.cleaned_data)


@desk_page(VIEW, services.PERMISSION)
@require_POST
def go_on(request: HttpRequest, run_id: int) -> HttpResponse:
    """Let the others follow the first one."""
    return _do(request, get_object_or_404(BulkRun, pk=run_id), services.go_on)


@desk_page(VIEW, services.PERMISSION)
@require_POST
def stop(request: HttpRequest, run_id: int) -> HttpResponse:
    """Stop it."""
    return _do(request, get_object_or_404(BulkRun, pk=run_id), services.stop)


@desk_page(VIEW, services.PERMISSION)
@require_POST
def resume(request: HttpRequest, run_id: int) -> HttpResponse:
    """Go on after a stop."""
    return _do(request, get_object_or_404(BulkRun, pk=run_id), services.resume)


@desk_page(VIEW)
@require_GET
def results(request: HttpRequest, run_id: int) -> HttpResponse:
    """Return all rows as a file, CSV or JSON."""
    run = get_object_or_404(BulkRun, pk=run_id)
    return export.as_json(run) if request.GET.get("format") == "json" else export.as_csv(run)


def _do(
    request: HttpRequest, run: BulkRun, service: Callable[..., None], *, form: StartForm | None = None, **given: Any
) -> HttpResponse:
    try:
        service(run_id=run.pk, operator=operator_of(request), origin=origin_of(request), **given)
    except services.MayNot as lack:
        raise PermissionDenied from lack
    except Refused as refusal:
        messages.error(request, f"Nothing was changed: {refusal}.")
        run.refresh_from_db()
        return _show(request, run, status=409, form=form)
    return HttpResponseRedirect(reverse("desk:bulk-run", args=[run.pk]))


def _show(request: HttpRequest, run: BulkRun, *, status: int = 200, form: StartForm | None = None) -> HttpResponse:
    is_preview = run.phase == BulkRun.Phase.PREVIEW
    changing = _progress(request, run)
    return show_page(
        request,
        "desk/bulk_run.html",
        title=f"{run}: {changing['action_title'].lower()}",
        status=status,
        is_preview=is_preview,
        facts=pages.facts(run),
        tables=pages.preview_tables(run) if is_preview else [],
        prospect=pages.prospect_of(run) if is_preview else None,
        form=(form or StartForm(run=run)) if is_preview else None,
        **changing,
    )


def _progress(request: HttpRequest, run: BulkRun) -> dict[str, Any]:
    counts = services.outcomes(run)
    chosen = request.GET.get("outcome", "")
    rows = run.rows.order_by("position")
    if chosen in BulkRow.Status.values:
        rows = rows.filter(status=chosen)
    else:
        chosen = ""
    shown = Paginator(rows, ROWS_PER_PAGE).get_page(request.GET.get("page"))
    may_act = run.action in ACTIONS and request.user.has_perms([services.PERMISSION, ACTIONS[run.action].permission])
    return {
        "run": run,
        "action_title": pages.title_of(run.action),
        "phase": pages.phase_badge(run),
        "said": pages.sentence(run, counts),
        "share": pages.share_done(run, counts),
        "parts": pages.parts(run, counts),
        "tabs": pages.tabs(run, counts, chosen),
        "outcome": chosen,
        "rows": shown,
        "table": pages.rows_table(shown, is_preview=run.phase == BulkRun.Phase.PREVIEW),
        "may_act": may_act,
        "may_stop": request.user.has_perm(services.PERMISSION) and run.phase in LIVE,
        "may_go_on": may_act and run.phase == BulkRun.Phase.WAITING,
        "may_resume": may_act and run.phase == BulkRun.Phase.STOPPED and bool(counts.get(BulkRow.Status.WAITING)),
        "poll_seconds": _poll_seconds(run, counts),
    }


def _poll_seconds(run: BulkRun, counts: dict[str, int]) -> int | None:
    """Return how often the page asks what has changed; None when nothing will."""
    if run.phase in AT_WORK:
        return POLL_SECONDS
    is_unsettled = any(counts.get(status) for status in UNSETTLED)
    return PATIENT_POLL_SECONDS if run.phase in LIVE or is_unsettled else None
