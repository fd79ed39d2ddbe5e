"""An order's page: what it is and how it stands, its sagas as diagrams, and all that happened in one order of time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.contrib.auth import get_user_model
from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.urls import reverse
from django.utils.safestring import SafeString

from desk.actions.buttons import order_buttons
from desk.pages import desk_page, show
from desk.tables import case_badge, case_link, saga_link, state_badge
from desk.timeline.diagram import draw
from desk.timeline.entries import KINDS, Kind, part, visible_kinds
from desk.timeline.lines import lines_of, trace_link
from desk.timeline.picture import picture_of
from orders.admin import STATUSES
from orders.models import Order
from orders.selectors import find_order
from outbox.contracts import trace_of
from outbox.desk import badge, clock, duration
from outbox.history import legs_of
from outbox.money import to_text
from outbox.selectors import messages_of
from sagas.models import Case, SagaInstance

# Entries of one page: an ordinary order has about forty, and a page of so many is read by a browser at once.
PAGE = 200
# The farthest page: past it reading costs more than it tells, and the evidence has everything.
LAST_PAGE = 50
# Cases that are listed in the header; the others are among the entries.
MOST_CASES = 20
OPENS = "orders.view_order"
EXPORTS = "outbox.export_evidence"


@dataclass(frozen=True, slots=True)
class Drawn:
    """A saga of the order with its diagram, lying and upright."""

    link: SafeString | str
    state: SafeString
    reason: str
    took: str
    trace: SafeString | str
    lying: SafeString
    upright: SafeString
    is_live: bool


@dataclass(frozen=True, slots=True)
class Choice:
    """A kind of entry that can be shown or left out."""

    name: str
    title: str
    is_chosen: bool


@desk_page(OPENS)
def order(request: HttpRequest, order_id: UUID) -> HttpResponse:
    """Show all that is known of an order to who may see it; what needs another permission is left out, and named."""
    found = find_order(order_id=order_id)
    runs = list(SagaInstance.objects.filter(key=order_id).order_by("started_at"))
    first = messages_of(ordering_key=order_id).first()
    if found is None and not runs and first is None:
        raise Http404("no order has this id")
    moments = [found.placed_at] if found else []
    start = min(moments + ([first.time] if first else []) + [run.started_at for run in runs])
    visible = visible_kinds(request.user)
    may_see_sagas = request.user.has_perm("sagas.view_sagainstance")
    may_see_cases = request.user.has_perm("sagas.view_case")
    return show(
        request,
        "desk/order.html",
        title=f"Order {order_id}",
        order_id=order_id,
        order=found,
        header=[*_header(found)] if found else [],
        sagas=[*drawn(runs, order_id)] if may_see_sagas else [],
        cases=[*_cases(order_id)] if may_see_cases else [],
        buttons=[*order_buttons(request.user, order_id, runs)] if may_see_sagas else [],
        hidden=[kind.title for kind in KINDS.values() if kind not in visible],
        may_export=len(visible) == len(KINDS) and request.user.has_perm(EXPORTS),
        messages_url=reverse("admin:outbox_message_changelist", query={"q": order_id}),
        **_entries(request, order_id, start, visible),
    )


def _header(found: Order) -> Iterator[tuple[str, SafeString | str]]:
    yield "Status", badge(found.status, STATUSES[Order.Status(found.status)])
    if found.reason:
        yield "Reason", found.reason.replace("_", " ")
    yield "Total", f"{to_text(minor_units=found.amount, currency=found.currency)} {found.currency}"
    customer = get_user_model().objects.filter(pk=found.customer_id).values_list("username", flat=True).first()
    yield "Customer", f"{customer} (no. {found.customer_id})" if customer else f"no. {found.customer_id}"
    yield "Placed", f"{clock(found.placed_at)} UTC"
    yield "Last change", f"{clock(found.updated_at)} UTC"
    yield "Items", ", ".join(f"{line.quantity} × {line.sku}" for line in found.loaded_lines)


def drawn(runs: Sequence[SagaInstance], order_id: UUID) -> Iterator[Drawn]:
    """Draw the sagas of an order."""
    legs = legs_of(ordering_key=order_id) if runs else []
    for run in runs:
        picture = picture_of(run, legs)
        name = f"saga-{run.pk}"
        yield Drawn(
            link=saga_link(run),
            state=state_badge(run.status),
            reason=run.reason.replace("_", " "),
            took=duration(run.started_at, run.ended_at),
            trace=trace_link(trace_of(run.traceparent)),
            lying=draw(picture, name=name),
            upright=draw(picture, name=name, is_upright=True),
            is_live=run.ended_at is None,
        )


def _cases(order_id: UUID) -> Iterator[tuple[SafeString, SafeString, str]]:
    found = Case.objects.filter(key=order_id, status=Case.Status.OPEN).order_by("due_at")
    for case in found[:MOST_CASES]:
        yield case_link(case), case_badge(case), f"{case.step or case.destination}: {case.error_class}"


def _entries(request: HttpRequest, order_id: UUID, start: datetime, visible: Sequence[Kind]) -> dict[str, Any]:
    """Return one page of the story, as the address asks for it."""
    wanted = set(request.GET.getlist("kind")) & {kind.name for kind in visible}
    kinds = [kind for kind in visible if kind.name in wanted] or list(visible)
    newest_first = request.GET.get("sort") == "newest"
    number = _number(request.GET.get("page", ""))
    skip = (number - 1) * PAGE
    entries, has_more = part(order_id=order_id, kinds=kinds, skip=skip, count=PAGE, newest_first=newest_first)
    return {
        "lines": [*lines_of(entries, start=start)],
        "first": skip + 1,
        "last": skip + len(entries),
        "choices": [Choice(kind.name, kind.title, not wanted or kind.name in wanted) for kind in visible],
        "is_filtered": bool(wanted),
        "newest_first": newest_first,
        "previous_url": _address(request.GET, page=number - 1) if number > 1 else "",
        "next_url": _address(request.GET, page=number + 1) if has_more and number < LAST_PAGE else "",
        "is_cut": has_more and number >= LAST_PAGE,
        "turned_url": _address(request.GET, page=1, sort="oldest" if newest_first else "newest"),
    }


def _number(text: str) -> int:
    return min(max(int(text), 1), LAST_PAGE) if text.isascii() and text.isdecimal() and len(text) < 6 else 1


def _address(query: QueryDict, **changed: object) -> str:
    """Return the address of this page with another part of the story."""
    other = query.copy()
    for name, value in changed.items():
        other[name] = str(value)
    return f"?{other.urlencode()}#story"
