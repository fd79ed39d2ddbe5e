"""The inbox of requests that need a second person: what is asked for, as it was seen then and as it is now.

Whoever asked sees it here too, and may take it back, but not approve it: `sagas.four_eyes` says so below every door.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.safestring import SafeString

from desk.actions import EVERY_ACTION
from desk.actions.buttons import Button
from desk.confirmation import decide
from desk.filters import ChoiceFilter
from desk.operators import operator_of
from desk.tables import Table, case_link, order_link, saga_link, steps_seen_table, steps_table
from outbox.desk import ReadOnlyAdmin, badge, clock, duration, short
from outbox.money import to_text
from sagas import four_eyes
from sagas.models import Approval, OperatorAction

STANDINGS = {
    "waiting": "warning",
    "changed since": "danger",
    "expired": "danger",
    "carried out": "success",
    "declined": "",
    "lapsed": "",
}


def standing_of(approval: Approval) -> str:
    """Return in words how a request stands: one that nobody can approve any more says why."""
    if approval.status != Approval.Status.REQUESTED:
        return str(approval.get_status_display()).lower()
    if approval.expires_at <= timezone.now():
        return "expired"
    has_changed = approval.saga is not None and approval.saga.updated_at != approval.seen_at
    return "changed since" if has_changed else "waiting"


class StatusFilter(ChoiceFilter):
    """What waits, unless other requests are asked for."""

    title = "status"
    parameter_name = "status"
    all_of_them = "Waiting"
    EVERY = "all"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:  # noqa: ARG002
        """Name the others."""
        decided = [(value, label) for value, label in Approval.Status.choices if value != Approval.Status.REQUESTED]
        return [*decided, (self.EVERY, "All")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:  # noqa: ARG002
        """Restrict to what was chosen, or else to what waits."""
        value = self.value() or Approval.Status.REQUESTED
        return queryset if value == self.EVERY else queryset.filter(status=value)


@admin.register(Approval)
class ApprovalAdmin(ReadOnlyAdmin):
    """Requests for a second person's approval: what waits, the one that expires first on top."""

    id_fields = ("key", "saga_id")
    search_help_text = "Order id or saga id"
    list_display = ("what", "short_order", "money", "requested_by", "why", "left", "standing")
    list_filter = (StatusFilter,)
    list_filter_submit = True
    list_before_template = "desk/approvals_before.html"
    sortable_by = ()
    change_form_outer_before_template = "desk/approval.html"
    change_form_outer_after_template = "desk/tables.html"
    fields = (
        ("what", "standing"),
        ("money", "reference"),
        ("requested_by", "from_where"),
        ("reason", "asked_at"),
        ("order", "about"),
        ("expires", "left"),
        ("decided_by", "decided"),
    )

    def has_view_permission(self, request: HttpRequest, obj: Approval | None = None) -> bool:
        """Whoever may approve has to see what."""
        return super().has_view_permission(request, obj) or request.user.has_perm(four_eyes.PERMISSION)

    def get_ordering(self, request: HttpRequest) -> tuple[str, ...]:
        """Put on top what expires first; of those that are over, the last one."""
        return ("-id",) if request.GET.get(StatusFilter.parameter_name) else ("expires_at", "id")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Approval]:
        """Read each request with when its saga has last changed, and no more of the saga than that."""
        found: QuerySet[Approval] = super().get_queryset(request)
        return found.select_related("saga", "case").defer("saga__steps", "saga__data")

    def get_urls(self) -> list[URLPattern]:
        """Give each decision a page of its own below that of its request."""
        pages: dict[str, Callable[..., HttpResponse]] = {
            "approve": partial(self._decide, is_approval=True),
            "decline": partial(self._decide, is_approval=False),
        }
        own = [
            path(
                f"<int:object_id>/{name}/",
                self.admin_site.admin_view(page),
                name=f"sagas_approval_{name}",
            )
            for name, page in pages.items()
        ]
        return [*own, *super().get_urls()]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """Show a request, what was seen when it was made, and what there is now."""
        approval = self.get_object(request, object_id)
        known = _context(approval, request) if approval is not None else {}
        return super().change_view(  # type: ignore[no-any-return]
            request, object_id, form_url, {**(extra_context or {}), **known}
        )

    def _decide(self, request: HttpRequest, object_id: int, is_approval: bool) -> HttpResponse:
        approval = get_object_or_404(Approval.objects.select_related("saga", "case"), pk=object_id)
        is_own = four_eyes.is_own(approval, operator=operator_of(request))
        # Whoever asked may take it back, and is told in words why he cannot approve it.
        if not request.user.has_perm(four_eyes.PERMISSION) and not (is_own and self.has_view_permission(request)):
            raise PermissionDenied
        context = {**self.admin_site.each_context(request), "then": _seen_then(approval)}
        return decide(request, approval.case, approval, is_approval=is_approval, context=context)

    @admin.display(description="asked for")
    def what(self, approval: Approval) -> str:
        """What is to be done."""
        return title_of(approval)

    @admin.display(description="order")
    def short_order(self, approval: Approval) -> SafeString | str:
        """The order, short."""
        return short(approval.key)

    @admin.display(description="order")
    def order(self, approval: Approval) -> SafeString:
        """The order; leads to its page."""
        return order_link(approval.key)

    @admin.display(description="about")
    def about(self, approval: Approval) -> SafeString | str:
        """The case, or the saga."""
        return case_link(approval.case) if approval.case is not None else saga_link(approval.saga)

    @admin.display(description="from")
    def from_where(self, approval: Approval) -> str:
        """The requester's address, or the host of a command."""
        return approval.origin or "-"

    @admin.display(description="money")
    def money(self, approval: Approval) -> str:
        """What the order is about."""
        if approval.amount is None:
            return "-"
        return f"{to_text(minor_units=approval.amount, currency=approval.currency)} {approval.currency}"

    @admin.display(description="why")
    def why(self, approval: Approval) -> str:
        """The reason, and under which reference."""
        return f"{approval.reason} ({approval.reference})" if approval.reference else approval.reason

    @admin.display(description="can be approved for")
    def left(self, approval: Approval) -> str:
        """How long it can still be approved."""
        now = timezone.now()
        if standing_of(approval) != "waiting":
            return "-"
        return duration(now, approval.expires_at)

    @admin.display(description="status")
    def standing(self, approval: Approval) -> SafeString:
        """How it stands."""
        said = standing_of(approval)
        return badge(said, STANDINGS[said])

    @admin.display(description="asked at (UTC)")
    def asked_at(self, approval: Approval) -> str:
        """When."""
        return clock(approval.requested_at)

    @admin.display(description="expires at (UTC)")
    def expires(self, approval: Approval) -> str:
        """Until when it can be approved."""
        return clock(approval.expires_at)

    @admin.display(description="decided at (UTC)")
    def decided(self, approval: Approval) -> str:
        """When somebody decided."""
        return clock(approval.decided_at)


def title_of(approval: Approval) -> str:
    """Return what is to be done, as the button calls it."""
    action = EVERY_ACTION.get(approval.action)
    return action.title if action is not None else approval.action


def _context(approval: Approval, request: HttpRequest) -> dict[str, Any]:
    now = [steps_table(approval.saga, title=f"Steps now: the saga is {approval.saga.status}")] if approval.saga else []
    then = _seen_then(approval)
    return {
        "approval_said": [*_said(approval, operator_of(request))],
        "approval_buttons": [*_buttons(approval, request)],
        "tables": [*then, *now],
    }


def _said(approval: Approval, reader: str) -> Iterator[str]:
    asker, standing = approval.requested_by, standing_of(approval)
    yield f"{asker} has asked for “{title_of(approval)}”, which takes a second person: {approval.reason}"
    match standing:
        case "waiting" if four_eyes.is_own(approval, operator=reader):
            yield "You have asked for it yourself, so somebody else has to approve it. You can take it back."
        case "waiting":
            yield "Nothing has been done yet, and nothing has changed since it was asked for."
        case "changed since":
            yield f"The saga has changed since {asker} asked, so nobody can approve it any more: ask again."
        case "expired":
            yield "Nobody approved it in time: ask again."
        case "lapsed":
            yield "It has lapsed: nobody approved it in time, or it has changed or was asked for anew."
        case _:
            yield f"{approval.decided_by} has decided: it is {standing}. The operator log tells why."


def _buttons(approval: Approval, request: HttpRequest) -> Iterator[Button]:
    if approval.status != Approval.Status.REQUESTED:
        return
    own = four_eyes.is_own(approval, operator=operator_of(request))
    title = title_of(approval)
    if own:
        yield Button(f"Take back: {title}", reverse("admin:sagas_approval_decline", args=[approval.pk]))
    elif request.user.has_perm(four_eyes.PERMISSION):
        if standing_of(approval) == "waiting":
            yield Button(f"Approve: {title}", reverse("admin:sagas_approval_approve", args=[approval.pk]), "primary")
        yield Button(f"Decline: {title}", reverse("admin:sagas_approval_decline", args=[approval.pk]))


def _seen_then(approval: Approval) -> list[Table]:
    """Return what the requester saw, as the operator log keeps it."""
    about = Q(saga_id=approval.saga_id) if approval.saga_id else Q(case_id=approval.case_id)
    asked = OperatorAction.objects.filter(about, action=f"request {approval.action}", seen__approval=approval.pk)
    line = asked.order_by("id").first()
    if line is None:
        return []
    tables = []
    if steps := line.seen.get("steps"):
        title = f"Steps as {approval.requested_by} saw them: the saga was {line.seen.get('status', 'known')}"
        tables.append(steps_seen_table(steps, title=title))
    if outside := line.seen.get("outside"):
        rows = [[each["gateway"], each["key"], each["answer"]] for each in outside]
        title = f"What bank and carrier said to {approval.requested_by}"
        tables.append(Table(title, ["whose", "asked about", "answer"], rows))
    return tables
