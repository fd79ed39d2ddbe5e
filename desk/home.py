"""The first page of the desk: what needs a person now, what it costs, and whether work flows.

It reads the monitoring view and the switches, never a hot table: however many look at it, and however often, the shop
does not notice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone

from desk.groups import Group, group_of
from desk.monitoring import charts, selectors
from desk.monitoring.exposures import (
    CHARGED_NOT_SHIPPED,
    EXPOSURES,
    REFUND_PENDING,
    RESERVED_NOT_RELEASED,
    LiveSagas,
    kind_of,
)
from desk.monitoring.models import Minute
from desk.monitoring.selectors import OpenCases, Queue
from outbox import breaker, pausing
from outbox.desk import duration
from outbox.money import to_text
from sagas.models import Case
from sagas.states import SagaStatus

# The view is measured as often.
REFRESH_SECONDS = 30
# What the charts show.
WINDOW = timedelta(hours=3)
RATIO_HOURS = timedelta(hours=1)
# More groups than these are on the groups' own page.
MOST_GROUPS = 10

KINDS = {
    CHARGED_NOT_SHIPPED: ("Charged and not shipped", "The customer has paid and nothing is on its way yet."),
    REFUND_PENDING: ("Refunds pending", "The order turned back or was returned; the customer waits for the money."),
    RESERVED_NOT_RELEASED: ("Reserved and not released", "Goods are held for an order that does not go on."),
}
FLOWS = {"orchestrated": "Every order takes the saga: the engine tells each context what to do, step by step."}


@dataclass(frozen=True, slots=True)
class Figure:
    """A number, what it counts, what more there is to say, and where to look."""

    name: str
    title: str
    value: str
    note: str
    url: str = ""
    is_alarming: bool = False


@dataclass(slots=True)
class FailureGroup:
    """Open cases that fail for the same reason, over all currencies."""

    name: str
    group: Group
    cases: int = 0
    overdue: int = 0
    unowned: int = 0
    oldest_at: datetime | None = None
    due_at: datetime | None = None
    money: dict[str, int] = field(default_factory=dict)

    @property
    def age(self) -> str:
        """For how long the oldest has been open."""
        return duration(self.oldest_at, None)

    @property
    def due(self) -> str:
        """When the most urgent one is due, in words."""
        return _due(self.due_at) if self.due_at else "-"

    @property
    def amounts(self) -> list[str]:
        """The money, each currency by itself."""
        return _amounts(self.money)

    @property
    def url(self) -> str:
        """The list of its cases."""
        return reverse("admin:sagas_case_changelist", query={"fingerprint": self.group.key})


def figures(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Add what the reader may see to the page."""
    seen: dict[str, Any] = {
        "freshness": selectors.freshness(),
        "refresh_seconds": REFRESH_SECONDS,
        "needs": [],
        "flow": [],
    }
    parts: tuple[tuple[str, Callable[[dict[str, Any]], None]], ...] = (
        ("sagas.view_case", _add_cases),
        ("sagas.view_approval", _add_approvals),
        ("sagas.view_sagainstance", _add_sagas),
        ("outbox.view_delivery", _add_messages),
    )
    allowed = [add for permission, add in parts if request.user.has_perm(permission)]
    for add in allowed:
        add(seen)
    return {**context, **seen, "title": "The desk", "may_see_nothing": not allowed}


def groups_of(rows: Iterable[OpenCases]) -> list[FailureGroup]:
    """Return the failure groups of open cases, the most urgent first."""
    found: dict[str, FailureGroup] = {}
    for row in rows:
        if row.fingerprint not in found:
            found[row.fingerprint] = FailureGroup(f"group-{len(found)}", group_of(_example(row)))
        group = found[row.fingerprint]
        group.cases += row.cases
        group.overdue += row.overdue
        group.unowned += row.unowned
        group.oldest_at = min(group.oldest_at or row.oldest_at, row.oldest_at)
        group.due_at = min(group.due_at or row.due_at, row.due_at)
        if row.currency:
            group.money[row.currency] = group.money.get(row.currency, 0) + row.amount
    return list(found.values())


def _add_cases(seen: dict[str, Any]) -> None:
    groups = groups_of(selectors.open_cases())
    cases, overdue, unowned = (sum(getattr(g, what) for g in groups) for what in ("cases", "overdue", "unowned"))
    page = "admin:sagas_case_changelist"
    note = f"{overdue or 'none'} overdue, {unowned or 'none'} without an owner" if cases else "nobody is needed"
    seen["needs"].append(Figure("open-cases", "Open cases", str(cases), note, reverse(page), cases > 0))
    if groups:
        oldest_at = min(group.oldest_at for group in groups if group.oldest_at)
        due_at = min(group.due_at for group in groups if group.due_at)
        is_late = due_at < timezone.now()
        url = reverse(page, query={"due": "overdue"} if is_late else {})
        note = f"the most urgent one is {_due(due_at)}"
        seen["needs"].append(Figure("oldest-case", "Oldest case", duration(oldest_at, None), note, url, is_late))
    seen["may_see_cases"] = True
    seen["groups"], seen["more_groups"] = groups[:MOST_GROUPS], len(groups[MOST_GROUPS:])


def _add_approvals(seen: dict[str, Any]) -> None:
    waiting = selectors.waiting_approvals()
    count = sum(row.approvals for row in waiting)
    note = "nobody waits for a second person"
    if waiting:
        money: dict[str, int] = {}
        for row in waiting:
            money[row.currency] = money.get(row.currency, 0) + row.amount
        what = ", ".join(_amounts(money))
        note = f"the first lapses {_in(min(row.expires_at for row in waiting))}{f'; {what}' if what else ''}"
    url = reverse("admin:sagas_approval_changelist")
    seen["needs"].append(Figure("approvals", "Approvals waiting", str(count), note, url, count > 0))


def _add_sagas(seen: dict[str, Any]) -> None:
    groups = selectors.live_sagas()
    seen["money"] = _money([group for group, _ in groups])
    count = {status: sum(group.sagas for group, _ in groups if group.status == status) for status in SagaStatus}
    stuck = count[SagaStatus.SUSPENDED]
    note = f"{count[SagaStatus.COMPENSATING]} turning back, {stuck} stuck"
    if groups:
        note += f"; the oldest began {duration(min(oldest for _, oldest in groups), None)} ago"
    url = reverse("admin:sagas_sagainstance_changelist")
    seen["flow"].append(Figure("live-sagas", "Live sagas", str(sum(count.values())), note, url))

    this_minute = timezone.now().replace(second=0, microsecond=0)
    begins_at = this_minute - WINDOW
    minutes = selectors.minutes(since=begins_at)
    seen["flow"].append(_ratio([minute for minute in minutes if minute.at >= this_minute - RATIO_HOURS]))
    seen["charts"] = charts.draw(minutes, begins_at=begins_at, ends_at=this_minute)
    seen["chart_rows"] = charts.rows(minutes, begins_at=begins_at, ends_at=this_minute)
    seen["chart_size"] = (charts.WIDTH, charts.HEIGHT)
    seen["order_flow"], seen["flow_means"] = settings.ORDER_FLOW, FLOWS[settings.ORDER_FLOW]


def _add_messages(seen: dict[str, Any]) -> None:
    queues = selectors.queue()
    page = "admin:outbox_delivery_changelist"
    seen["flow"] += _messages(queues, page)
    seen["breakers"] = breaker.statuses()
    seen["pauses"] = pausing.pauses()


def _messages(queues: Sequence[Queue], page: str) -> list[Figure]:
    waiting = sum(row.waiting + row.in_flight for row in queues)
    lag = selectors.lag_seconds(queues, at=timezone.now())
    note = f"the oldest for {_age(lag)}" if waiting else "all that was said has been delivered"
    dead, blocked = sum(row.dead for row in queues), sum(row.blocked_keys for row in queues)
    behind = f"{blocked} orders wait behind another message" if blocked else "no order waits behind another message"
    all_of_them = reverse(page, query={"state": "all"})
    is_late = lag > charts.LAG_LIMIT_SECONDS
    return [
        Figure("messages", "Messages on their way", str(waiting), note, all_of_them, is_late),
        Figure("dead", "Dead deliveries", str(dead), behind, reverse(page), dead > 0),
    ]


def _ratio(minutes: Sequence[Minute]) -> Figure:
    started, turned = sum(minute.started for minute in minutes), sum(minute.turned_back for minute in minutes)
    percent = 100 * turned / started if started else 0.0
    note = f"{turned} of {started} begun in the last hour; the budget is {charts.BUDGET_PERCENT:g} %"
    return Figure(
        "ratio", "Turned back", f"{percent:.1f} %", note, is_alarming=started > 0 and percent > charts.BUDGET_PERCENT
    )


def _money(groups: Sequence[LiveSagas]) -> list[Figure]:
    """Return what is at risk, a figure for each kind."""
    found = []
    for kind in dict.fromkeys((*KINDS, *(row.kind for row in EXPOSURES))):
        at_risk = [group for group in groups if kind_of(group) == kind]
        sums: dict[str, int] = {}
        for group in at_risk:
            sums[group.currency] = sums.get(group.currency, 0) + group.amount
        title, means = KINDS.get(kind, (kind.replace("_", " ").capitalize(), ""))
        orders = sum(group.sagas for group in at_risk)
        value = " + ".join(_amounts(sums)) or ("amount unknown" if orders else "nothing")
        note = f"{orders} {'order' if orders == 1 else 'orders'}. {means}" if orders else means
        found.append(Figure(f"money-{kind}", title, value, note, is_alarming=orders > 0))
    return found


def _example(row: OpenCases) -> Case:
    """Return a case like those of a row, for the words of its group."""
    return Case(
        fingerprint=row.fingerprint,
        step=row.step,
        direction=row.direction,
        destination=row.destination,
        error_class=row.error_class,
        error=row.reason,
    )


def _amounts(sums: dict[str, int]) -> list[str]:
    known = sorted((currency, amount) for currency, amount in sums.items() if currency)
    return [f"{to_text(minor_units=amount, currency=currency)} {currency}" for currency, amount in known]


def _due(due_at: datetime) -> str:
    now = timezone.now()
    return f"overdue by {duration(due_at, now)}" if due_at < now else f"due {_in(due_at)}"


def _in(moment: datetime) -> str:
    return f"in {duration(timezone.now(), moment)}"


def _age(seconds: float) -> str:
    now = timezone.now()
    return duration(now - timedelta(seconds=seconds), now)
