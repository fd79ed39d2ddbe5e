"""How the pages of a bulk run say it: badges, sentences, tables, in plain words."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from django.db.models import Count, Sum
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from desk.actions import ACTIONS
from desk.bulk.models import BulkRow, BulkRun
from desk.tables import Table
from outbox.desk import badge, clock, short
from outbox.money import to_text

_PHASES = {
    BulkRun.Phase.PREVIEW: "",
    BulkRun.Phase.CANARY: "info",
    BulkRun.Phase.WAITING: "warning",
    BulkRun.Phase.RUNNING: "info",
    BulkRun.Phase.STOPPED: "danger",
    BulkRun.Phase.DONE: "success",
}
# In the order of the bar: kind of badge, color of the part.
_STATUSES = {
    BulkRow.Status.DONE: ("success", "bg-green-600"),
    BulkRow.Status.REQUESTED: ("info", "bg-blue-500"),
    BulkRow.Status.AWAITS_APPROVAL: ("warning", "bg-orange-400"),
    BulkRow.Status.FAILED_AGAIN: ("danger", "bg-red-600"),
    BulkRow.Status.OVERTAKEN: ("", "bg-base-500"),
    BulkRow.Status.REFUSED: ("", "bg-base-400"),
    BulkRow.Status.WAITING: ("", ""),
}


@dataclass(frozen=True, slots=True)
class Prospect:
    """What a preview comes to: how many can be acted on, how many only with a second person, how many not at all."""

    able: int
    approvals: int
    unable: int
    money: str


@dataclass(frozen=True, slots=True)
class Part:
    """One color of the progress bar; `share` in percent of the whole."""

    title: str
    color: str
    share: float


@dataclass(frozen=True, slots=True)
class Tab:
    """One filter of the rows, with how many it leaves."""

    title: str
    count: int
    url: str
    is_chosen: bool


def title_of(action: str) -> str:
    """Return an action's name as the buttons have it; of one that is no more, the name in the row."""
    return ACTIONS[action].title if action in ACTIONS else action.capitalize()


def phase_badge(run: BulkRun) -> SafeString:
    """Return the badge of how far a run has come."""
    return badge(run.get_phase_display(), _PHASES[BulkRun.Phase(run.phase)])


def status_badge(row: BulkRow) -> SafeString:
    """Return the badge of what came of a row."""
    return badge(row.get_status_display(), _STATUSES[BulkRow.Status(row.status)][0])


def prospect_of(run: BulkRun) -> Prospect:
    """Return what would come of a run that is not started yet."""
    waiting = run.rows.filter(status=BulkRow.Status.WAITING)
    able = waiting.count()
    return Prospect(
        able=able,
        approvals=waiting.filter(needs_approval=True).count(),
        unable=run.size - able,
        money=_sums(waiting.order_by("currency").values_list("currency").annotate(total=Sum("amount"))),
    )


def preview_tables(run: BulkRun) -> list[Table]:
    """Return what would be done, by failure group, step and currency; and what cannot, by reason."""
    waiting = run.rows.filter(status=BulkRow.Status.WAITING)
    kinds = waiting.values("group", "step", "calls", "needs_approval", "currency")
    able = [
        [
            each["group"] or "-",
            each["step"],
            each["calls"],
            each["many"],
            _amount(each["total"], each["currency"]),
            badge("after approval", "warning") if each["needs_approval"] else badge("at once", "info"),
        ]
        for each in kinds.annotate(many=Count("pk"), total=Sum("amount")).order_by("-many", "group", "step", "currency")
    ]
    refused = run.rows.filter(status=BulkRow.Status.REFUSED).values("result").annotate(many=Count("pk"))
    unable = [[each["result"], each["many"]] for each in refused.order_by("-many", "result")]
    return [
        Table("What would be done", ["failure group", "step", "is called", "cases", "money", "takes effect"], able),
        Table("What cannot be acted on, and why", ["reason", "cases"], unable),
    ]


def facts(run: BulkRun) -> list[tuple[str, object]]:
    """Return who wanted what, when and why; in the order of time."""
    told: list[tuple[str, object]] = [
        ("Chosen", f"{_cases(run.size)}, {run.source or 'by number'}, frozen at {clock(run.requested_at)}"),
        ("Asked for by", run.requested_by),
    ]
    if run.started_at:
        told += [
            ("Reason", run.reason),
            *([("Reference", run.reference)] if run.reference else []),
            ("Started", f"{clock(run.started_at)} by {run.started_by}"),
            ("Speed", f"{run.per_second} a second"),
        ]
        if run.operator != run.started_by:
            told.append(("Done in the name of", run.operator))
    if run.stopped_at:
        told.append(("Last stopped", f"{clock(run.stopped_at)} by {run.stopped_by or 'itself'}"))
    if run.ended_at:
        told.append(("Ended", clock(run.ended_at)))
    return told


def sentence(run: BulkRun, counts: dict[str, int]) -> str:
    """Return where a run stands, in one or two sentences; for everybody, and for whoever listens to the page."""
    left = counts.get(BulkRow.Status.WAITING, 0)
    match run.phase:
        case BulkRun.Phase.PREVIEW:
            return "Nothing has been done yet."
        case BulkRun.Phase.CANARY if run.canary_position is None:
            return "The first case is about to be tried; the others wait for what comes of it."
        case BulkRun.Phase.CANARY:
            return "The first case has been tried. The others wait until it is known what came of it."
        case BulkRun.Phase.RUNNING:
            return "Case after case is being done."
        case BulkRun.Phase.STOPPED:
            rest = f" {_cases(left)} left: resume, or leave it." if left else " No case is left."
            return run.note + rest
        case BulkRun.Phase.WAITING:
            return run.note
    unsettled = counts.get(BulkRow.Status.REQUESTED, 0)
    approvals = counts.get(BulkRow.Status.AWAITS_APPROVAL, 0)
    waits = [f"{unsettled} without a result yet"] * bool(unsettled)
    waits += [f"{approvals} waiting for a second person to approve"] * bool(approvals)
    return "Every case has had its turn" + (f": {', '.join(waits)}." if waits else ", and every outcome is known.")


def share_done(run: BulkRun, counts: dict[str, int]) -> int:
    """Return how much of a run is behind it, in percent; 100 only when nothing waits."""
    return 100 * (run.size - counts.get(BulkRow.Status.WAITING, 0)) // run.size


def parts(run: BulkRun, counts: dict[str, int]) -> list[Part]:
    """Return the colors of the progress bar."""
    return [
        Part(f"{counts[status]} {status.label}", color, round(100 * counts[status] / run.size, 3))
        for status, (_, color) in _STATUSES.items()
        if color and counts.get(status)
    ]


def tabs(run: BulkRun, counts: dict[str, int], chosen: str) -> list[Tab]:
    """Return the filters by outcome: those that have rows, and the chosen one."""
    page = reverse("desk:bulk-run", args=[run.pk])
    found = [Tab("all", run.size, page, not chosen)]
    for status in _STATUSES:
        if counts.get(status) or status == chosen:
            url = f"{page}?{urlencode({'outcome': status.value})}"
            found.append(Tab(status.label, counts.get(status, 0), url, status == chosen))
    return found


def rows_table(rows: Iterable[BulkRow], *, is_preview: bool) -> Table:
    """Return what came of each case; before the start, what would be called for it."""
    told: list[list[Any]] = [
        [
            row.position,
            _case(row.case_id, f"case-{row.case_id}"),
            short(row.key),
            row.step or "-",
            format_html('<span class="whitespace-nowrap">{}</span>', row.money),
            status_badge(row),
            _result(row, is_preview=is_preview),
            clock(row.at),
        ]
        for row in rows
    ]
    result = "what is called" if is_preview else "what came of it"
    return Table("", ["no.", "case", "order", "step", "money", "outcome", result, "at"], told)


def _result(row: BulkRow, *, is_preview: bool) -> SafeString | str:
    if row.status == BulkRow.Status.WAITING:
        return row.calls if is_preview else "has not had its turn"
    if row.next_case_id is None:
        return row.result
    return format_html("{} → {}", row.result, _case(row.next_case_id, f"next-{row.next_case_id}"))


def _case(case_id: int, name: str) -> SafeString:
    """Return a link to a case. Its name in the page keeps the keyboard's place while the page changes under it."""
    return format_html(
        '<a id="{}" href="{}" class="{}">Case {}</a>',
        name,
        reverse("admin:sagas_case_change", args=[case_id]),
        "font-medium text-primary-600 hover:underline whitespace-nowrap dark:text-primary-500",
        case_id,
    )


def _cases(many: int) -> str:
    return "1 case" if many == 1 else f"{many} cases"


def _amount(total: int | None, currency: str) -> str:
    return "-" if total is None else f"{to_text(minor_units=total, currency=currency)} {currency}".strip()


def _sums(totals: Iterable[tuple[str, int | None]]) -> str:
    known = [_amount(total, currency) for currency, total in totals if total is not None]
    return ", ".join(known) or "no known amount"
