"""The desk's pages of cases: what waits for a person, and what the person can do."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar
from uuid import UUID

from django.contrib import admin
from django.contrib.auth import get_user_model
from django.contrib.postgres.search import CombinedSearchQuery, SearchQuery
from django.core.exceptions import PermissionDenied
from django.db.models import F, Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, path
from django.utils.html import format_html
from django.utils.safestring import SafeString

from desk import filters
from desk.actions import ACTIONS, EVERY_ACTION, CaseAction
from desk.bulk.selection import bulk_action, may_bulk
from desk.case_page import context_of, is_own, money_of, opened_of, what_of
from desk.confirmation import confirm, decide
from desk.group_page import due_in_words
from desk.groups import group_of
from desk.paging import BoundedPaginator
from desk.tables import case_badge, order_link, saga_link, state_badge
from orders.selectors import order_ids_of
from outbox.desk import ReadOnlyAdmin, any_of, clock, duration, short
from payments.selectors import order_ids_of_reference
from sagas import four_eyes
from sagas.models import Case, words_of_error

# So many orders of one customer, or of one reference, are looked through; nobody reads on.
MOST_ORDERS = 500
# Of an error, the list shows so many characters, and some more to a pointer that rests on it.
SHOWN, SHOWN_ON_HOVER = 160, 500
# A case's number has less than this many digits, whatever is typed.
MOST_DIGITS = 19


@admin.register(Case)
class CaseAdmin(ReadOnlyAdmin):
    """What waits for a person: open ones, the most urgent on top."""

    id_fields = ("key", "saga_id", "message_id")
    search_help_text = "Order, saga or message id, case number, customer, gateway reference, or words of the error"
    # Not a hot table: people have to work through its open rows, and want to know how many there are.
    paginator = BoundedPaginator
    list_display = ("number", "failure", "short_order", "money", "due_in", "owned_by")
    list_filter = (
        filters.StatusFilter,
        filters.OwnerFilter,
        filters.OverdueFilter,
        filters.GroupFilter,
        filters.StepFilter,
        filters.DirectionFilter,
        filters.ErrorFilter,
        filters.AgeFilter,
        filters.AmountFilter,
        filters.ResolutionFilter,
    )
    list_filter_submit = True
    list_filter_sheet = True
    list_before_template = "desk/cases_before.html"
    sortable_by = ()
    change_form_outer_before_template = "desk/case.html"
    change_form_outer_after_template = "desk/tables.html"
    actions: ClassVar = tuple(bulk_action(name) for name in ACTIONS)
    fields = (
        ("order", "saga_page"),
        ("what", "step_now"),
        ("error_class", "attempts"),
        ("fingerprint", "message_id"),
        ("opened", "due"),
    )

    class Media:
        """The look of a failure's two lines."""

        css: ClassVar = {"all": ("desk/cases.css",)}

    def get_fields(self, request: HttpRequest, obj: Case | None = None) -> list[tuple[str, ...]]:  # noqa: ARG002
        """Show how it ended once it has."""
        is_closed = obj is not None and obj.status == Case.Status.CLOSED
        return [*self.fields, *([("resolution", "closed"), ("reason", "reference")] if is_closed else [])]

    def get_ordering(self, request: HttpRequest) -> tuple[Any, ...]:
        """Put the most urgent open ones first, and of closed ones the last; each order has its index."""
        match filters.status_shown(request):
            case Case.Status.OPEN:
                return ("due_at", "id")
            case Case.Status.CLOSED:
                return ("-closed_at", "-id")
        return ("-status", F("closed_at").desc(nulls_first=True), "due_at", "id")

    def get_search_results(
        self,
        request: HttpRequest,  # noqa: ARG002 - Django passes it
        queryset: QuerySet[Case],
        search_term: str,
    ) -> tuple[QuerySet[Case], bool]:
        """Find cases by an id, a number, a customer, what the gateway calls it, or words of the error."""
        term = search_term.strip()
        if not term:
            return queryset, False
        return queryset.alias(words=words_of_error()).filter(_meaning(term)), False

    def get_urls(self) -> list[URLPattern]:
        """Give each action a page of its own below that of its case."""
        opts = self.opts
        pages: dict[str, Callable[..., HttpResponse]] = {
            **{name: partial(self._confirm, case_action=each) for name, each in ACTIONS.items()},
            "approve": partial(self._decide, is_approval=True),
            "decline": partial(self._decide, is_approval=False),
        }
        own = [
            path(
                f"<int:object_id>/{name}/",
                self.admin_site.admin_view(page),
                name=f"{opts.app_label}_{opts.model_name}_{name}",
            )
            for name, page in pages.items()
        ]
        return [*own, *super().get_urls()]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """Show a case with the story behind it."""
        case = self._find(object_id)
        known = context_of(case, request) if case and self.has_view_permission(request, case) else {}
        return super().change_view(  # type: ignore[no-any-return]
            request, object_id, form_url, {**(extra_context or {}), **known}
        )

    def _find(self, object_id: object) -> Case | None:
        number = str(object_id)
        if not number.isdecimal() or len(number) >= MOST_DIGITS:
            return None
        return Case.objects.select_related("saga").filter(pk=number).first()

    def _confirm(self, request: HttpRequest, object_id: int, case_action: CaseAction) -> HttpResponse:
        case = self._require(request, object_id, case_action.permission)
        if case is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, str(object_id))  # type: ignore[no-any-return]
        return confirm(request, case, case_action, context=self.admin_site.each_context(request))

    def _decide(self, request: HttpRequest, object_id: int, is_approval: bool) -> HttpResponse:
        case = self._require(request, object_id)
        approval = four_eyes.waiting_for(case=case) if case else None
        # Whoever asked may take it back without the right to approve.
        if not (request.user.has_perm(four_eyes.PERMISSION) or (not is_approval and is_own(approval, request))):
            raise PermissionDenied
        if case is None or approval is None or approval.action not in EVERY_ACTION:
            return self._get_obj_does_not_exist_redirect(request, self.opts, str(object_id))  # type: ignore[no-any-return]
        return decide(request, case, approval, is_approval=is_approval, context=self.admin_site.each_context(request))

    def _require(self, request: HttpRequest, object_id: int, *permissions: str) -> Case | None:
        """Return a case to somebody who may look at it and has these permissions. Raises `PermissionDenied`."""
        if not request.user.has_perms(["sagas.view_case", *permissions]):
            raise PermissionDenied
        return self._find(object_id)

    @admin.display(description="case")
    def number(self, case: Case) -> SafeString:
        """Its number, and whether it is open, overdue, or how it ended."""
        return format_html('<span class="font-medium">#{}</span> {}', case.pk, case_badge(case))

    @admin.display(description="failure")
    def failure(self, case: Case) -> SafeString:
        """What went wrong in words, where, and the error as it was told."""
        return format_html(
            '<span class="desk-failure">{}<span class="desk-detail">{}</span>'
            '<span class="desk-detail" title="{}">{}: {}</span></span>',
            group_of(case).title,
            what_of(case),
            case.error[:SHOWN_ON_HOVER],
            case.error_class,
            case.error[:SHOWN],
        )

    @admin.display(description="step")
    def what(self, case: Case) -> str:
        """The step that cannot go on, or who could not take a message."""
        return what_of(case)

    @admin.display(description="step now")
    def step_now(self, case: Case) -> SafeString | str:
        """Where the step stands now: a case that was retried is not settled before its step is."""
        step = case.saga.steps.get(case.step) if case.saga else None
        return state_badge(step.get("status", "PENDING")) if step else "-"

    @admin.display(description="order")
    def short_order(self, case: Case) -> SafeString | str:
        """The order, short."""
        return short(case.key)

    @admin.display(description="order")
    def order(self, case: Case) -> SafeString:
        """The order; leads to its page."""
        return order_link(case.key)

    @admin.display(description="saga")
    def saga_page(self, case: Case) -> SafeString | str:
        """The saga, with its state now; leads to its page."""
        return format_html("{} {}", saga_link(case.saga), state_badge(case.saga.status)) if case.saga else "-"

    @admin.display(description="amount")
    def money(self, case: Case) -> SafeString:
        """The money that hangs on it."""
        return format_html('<span class="whitespace-nowrap">{}</span>', money_of(case))

    @admin.display(description="due and age")
    def due_in(self, case: Case) -> SafeString:
        """How much time is left, or since when it is overdue; and how long it has been open, or was."""
        is_open = case.status == Case.Status.OPEN
        return format_html(
            '<span class="whitespace-nowrap">{}<span class="desk-detail">{} {}</span></span>',
            due_in_words(case.due_at) if is_open else "settled",
            "open for" if is_open else "was open for",
            duration(case.opened_at, case.closed_at),
        )

    @admin.display(description="owner")
    def owned_by(self, case: Case) -> str:
        """Who has it."""
        return case.owner if case.is_claimed else "nobody yet"

    @admin.display(description="opened")
    def opened(self, case: Case) -> str:
        """When a person was first needed."""
        return opened_of(case)

    @admin.display(description="due")
    def due(self, case: Case) -> str:
        """Until when it should be settled."""
        return clock(case.due_at)

    @admin.display(description="closed")
    def closed(self, case: Case) -> str:
        """When it was closed, and how long it took."""
        return f"{clock(case.closed_at)} (after {duration(case.opened_at, case.closed_at)})"


# What may be done with many at once, as Django's list asks for it.
for _name in ACTIONS:
    setattr(CaseAdmin, f"has_bulk_{_name}_permission", may_bulk(_name))


def _meaning(term: str) -> Q:
    """Return what is looked for: an id names itself; anything else may be a number, a name, or part of an error."""
    try:
        return any_of(CaseAdmin.id_fields, UUID(term))
    except ValueError:
        pass
    number = term.removeprefix("#")
    by_number = Q(pk=int(number)) if number.isdecimal() and len(number) < MOST_DIGITS else Q()
    return by_number | Q(key__in=_orders(term)) | Q(words=_words(term))


def _orders(term: str) -> list[UUID]:
    users = get_user_model().objects.filter(username=term).values_list("pk", flat=True)
    orders = [order for user in users for order in order_ids_of(customer_id=user, limit=MOST_ORDERS)]
    return orders + order_ids_of_reference(reference=term, limit=MOST_ORDERS)


def _words(term: str) -> SearchQuery | CombinedSearchQuery:
    """Return the search for all words of a text, of which each may be the beginning of a longer one."""
    beginnings = " & ".join(f"{word}:*" for word in re.findall(r"\w+", term))
    as_typed = SearchQuery(term, config="simple")
    return as_typed | SearchQuery(beginnings, config="simple", search_type="raw") if beginnings else as_typed
