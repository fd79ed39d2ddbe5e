"""The first page of the desk: whether a person is needed, and whether work flows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db.models import Count, Q
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone

from outbox import selectors as outbox
from sagas.models import Case, SagaInstance
from sagas.states import LIVE, SagaStatus


@dataclass(frozen=True, slots=True)
class Figure:
    """A number, what it counts, what more there is to say, and where to look."""

    title: str
    number: int
    note: str
    url: str
    is_alarming: bool = False


def figures(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Add what the reader may see to the page."""
    shown = []
    if request.user.has_perm("sagas.view_case"):
        shown.append(_cases())
    if request.user.has_perm("sagas.view_sagainstance"):
        shown.append(_sagas())
    if request.user.has_perm("outbox.view_delivery"):
        shown += _deliveries()
    return {**context, "title": "The desk", "figures": shown}


def _cases() -> Figure:
    cases = Case.objects.filter(status=Case.Status.OPEN)
    count = cases.aggregate(open=Count("id"), overdue=Count("id", filter=Q(due_at__lt=timezone.now())))
    note = f"{count['overdue']} overdue" if count["overdue"] else "none overdue"
    url = reverse("admin:sagas_case_changelist", query={"status__exact": "OPEN"})
    return Figure("Open cases", count["open"], note, url, is_alarming=count["open"] > 0)


def _sagas() -> Figure:
    live = SagaInstance.objects.filter(status__in=[status.value for status in LIVE])
    count = dict(live.values_list("status").annotate(Count("id")))
    note = ", ".join(
        f"{count.get(status.value, 0)} {status.lower()}" for status in (SagaStatus.COMPENSATING, SagaStatus.SUSPENDED)
    )
    return Figure("Live sagas", sum(count.values()), note, reverse("admin:sagas_sagainstance_changelist"))


def _deliveries() -> list[Figure]:
    rows = outbox.status()
    oldest = max((row.oldest_seconds for row in rows), default=0.0)
    page = "admin:outbox_delivery_changelist"
    waiting = Figure(
        "Messages on their way",
        sum(row.waiting + row.in_flight for row in rows),
        f"the oldest for {oldest:.1f} s",
        reverse(page, query={"state": "all"}),
    )
    dead = sum(row.dead for row in rows)
    blocked = outbox.blocked_keys()
    return [
        waiting,
        Figure("Dead deliveries", dead, f"{blocked} orders blocked", reverse(page), is_alarming=dead > 0),
    ]
