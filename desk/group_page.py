"""The page of failure groups: forty stuck cases are rarely forty problems, and a group is handled as one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db.models import Count, Min, Q, Sum
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone

from desk.actions import ACTIONS
from desk.groups import Group, group_of
from desk.pages import desk_page, show
from outbox.desk import clock, duration
from outbox.money import to_text
from sagas.models import Case

# More groups than this no person reads; the most urgent ones come first.
MOST_GROUPS = 100
# So many names fit beside a group.
MOST_OWNERS = 10


@dataclass(slots=True)
class OpenGroup:
    """A failure group with what is open in it, over all currencies."""

    group: Group
    example: Case
    cases: int = 0
    overdue: int = 0
    unowned: int = 0
    opened_at: datetime = field(default_factory=timezone.now)
    due_at: datetime | None = None
    money: dict[str, int] = field(default_factory=dict)
    owners: list[str] = field(default_factory=list)

    @property
    def amounts(self) -> list[str]:
        """The money that hangs on it, each currency by itself."""
        sums = sorted(self.money.items())
        return [f"{to_text(minor_units=amount, currency=currency)} {currency}" for currency, amount in sums]

    @property
    def age(self) -> str:
        """How long the oldest case has been open."""
        return duration(self.opened_at, None)

    @property
    def due(self) -> str:
        """When the most urgent case is due, in words."""
        return due_in_words(self.due_at) if self.due_at else "-"

    @property
    def due_on_the_clock(self) -> str:
        """When the most urgent case is due, in UTC."""
        return clock(self.due_at)

    @property
    def cases_url(self) -> str:
        """The list of its open cases."""
        return reverse("admin:sagas_case_changelist", query={"fingerprint": self.group.key})


def open_groups() -> list[OpenGroup]:
    """Return the failure groups of all open cases, the most urgent first; four statements."""
    opened = Case.objects.filter(status=Case.Status.OPEN)
    by_urgency = opened.values("fingerprint").annotate(due=Min("due_at")).order_by("due", "fingerprint")
    marks = [row["fingerprint"] for row in by_urgency[:MOST_GROUPS]]
    opened = opened.filter(fingerprint__in=marks)
    rows: Iterable[Any] = (
        opened.values("fingerprint", "currency")
        .annotate(
            cases=Count("id"),
            overdue=Count("id", filter=Q(due_at__lt=timezone.now())),
            unowned=Count("id", filter=Q(claimed_at__isnull=True)),
            money=Sum("amount"),
            opened=Min("opened_at"),
            due=Min("due_at"),
            example=Min("id"),
        )
        .order_by("due")
    )
    by_mark: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        by_mark[row["fingerprint"]].append(row)
    chosen = list(by_mark.values())
    examples = Case.objects.in_bulk([alike[0]["example"] for alike in chosen])
    owners: dict[str, set[str]] = defaultdict(set)
    for mark, owner in opened.filter(claimed_at__isnull=False).values_list("fingerprint", "owner").distinct():
        owners[mark].add(owner)
    return [
        _group(alike, examples[alike[0]["example"]], owners[alike[0]["fingerprint"]])
        for alike in chosen
        if alike[0]["example"] in examples
    ]


def due_in_words(due_at: datetime) -> str:
    """Return how much time is left, or since when it is overdue."""
    now = timezone.now()
    return f"overdue by {duration(due_at, now)}" if due_at < now else f"in {duration(now, due_at)}"


@desk_page("sagas.view_case")
def groups(request: HttpRequest) -> HttpResponse:
    """Show the failure groups that are open."""
    found = open_groups()
    return show(
        request,
        "desk/groups.html",
        title="Failure groups",
        groups=found,
        most=MOST_GROUPS if len(found) == MOST_GROUPS else 0,
        cases=sum(each.cases for each in found),
        actions=_bulk_actions(request),
        cases_url=reverse("admin:sagas_case_changelist"),
    )


def _bulk_actions(request: HttpRequest) -> list[tuple[str, str]]:
    if not request.user.has_perm("desk.run_bulk"):
        return []
    return [(name, each.title) for name, each in ACTIONS.items() if request.user.has_perm(f"sagas.{name}_case")]


def _group(alike: Sequence[dict[str, Any]], example: Case, owners: set[str]) -> OpenGroup:
    whole = OpenGroup(group_of(example), example, owners=sorted(owners)[:MOST_OWNERS])
    for row in alike:
        whole.cases += row["cases"]
        whole.overdue += row["overdue"]
        whole.unowned += row["unowned"]
        whole.opened_at = min(whole.opened_at, row["opened"])
        whole.due_at = min(whole.due_at or row["due"], row["due"])
        if row["money"] is not None:
            whole.money[str(row["currency"])] = row["money"]
    return whole
