"""The operators' desk: cases to settle, the sagas behind them, and the log of what people did."""

from __future__ import annotations

from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.core.paginator import Paginator
from django.db.models import F, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.safestring import SafeString
from unfold.dataclasses import UnfoldAction
from unfold.decorators import action
from unfold.enums import ActionVariant
from unfold.widgets import UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from outbox.desk import ReadOnlyAdmin, as_json, badge, clock, duration, short
from sagas.case_actions import ABANDON, RESOLVE, RETRY, SKIP, CaseAction, preview
from sagas.definition import definitions
from sagas.desk import (
    Table,
    actions_table,
    attempts_table,
    case_badge,
    cases_table,
    messages_table,
    order_link,
    result_badge,
    saga_link,
    state_badge,
    steps_table,
)
from sagas.engine import Refused
from sagas.instances import UnknownDefinition
from sagas.models import Case, OperatorAction, SagaInstance


class NameFilter(admin.SimpleListFilter):
    """By saga, named without a look at the hot table."""

    title = "saga"
    parameter_name = "name"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:  # noqa: ARG002
        """Name the sagas that this release knows."""
        return [(name, name) for name in sorted({name for name, _ in definitions()})]

    def queryset(
        self,
        request: HttpRequest,  # noqa: ARG002
        queryset: QuerySet[SagaInstance],
    ) -> QuerySet[SagaInstance]:
        """Restrict to one."""
        return queryset.filter(name=self.value()) if self.value() else queryset


@admin.register(SagaInstance)
class SagaAdmin(ReadOnlyAdmin):
    """Runs of sagas, newest first: their ids grow with time."""

    id_fields = ("id", "key")
    search_help_text = "Order id or saga id"
    list_display = ("short_id", "name", "short_order", "state", "reason", "started", "took")
    list_filter = ("status", NameFilter)
    ordering = ("-id",)
    sortable_by = ()
    fields = (
        ("state", "reason"),
        ("name", "version"),
        ("order", "id"),
        ("started", "ended"),
        ("took", "deadline"),
        ("content",),
    )
    change_form_outer_after_template = "desk/tables.html"

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """Show a saga with everything that happened to its order."""
        saga = self.get_object(request, object_id)
        return super().change_view(  # type: ignore[no-any-return]
            request, object_id, form_url, {**(extra_context or {}), "tables": _story(saga) if saga else []}
        )

    @admin.display(description="saga")
    def short_id(self, saga: SagaInstance) -> SafeString | str:
        """The id, short."""
        return short(saga.pk)

    @admin.display(description="order")
    def short_order(self, saga: SagaInstance) -> SafeString | str:
        """The order, short."""
        return short(saga.key)

    @admin.display(description="order")
    def order(self, saga: SagaInstance) -> SafeString:
        """The order; leads to its page."""
        return order_link(saga.key)

    @admin.display(description="status")
    def state(self, saga: SagaInstance) -> SafeString:
        """Where it stands."""
        return state_badge(saga.status)

    @admin.display(description="started")
    def started(self, saga: SagaInstance) -> str:
        """When it began."""
        return clock(saga.started_at)

    @admin.display(description="ended")
    def ended(self, saga: SagaInstance) -> str:
        """When it ended."""
        return clock(saga.ended_at)

    @admin.display(description="deadline")
    def deadline(self, saga: SagaInstance) -> str:
        """When the step in flight is overdue."""
        return clock(saga.due_at)

    @admin.display(description="took")
    def took(self, saga: SagaInstance) -> str:
        """How long it ran, or has run so far."""
        return duration(saga.started_at, saga.ended_at)

    @admin.display(description="data")
    def content(self, saga: SagaInstance) -> SafeString:
        """What its commands are filled from, without what it says about a person."""
        return as_json(saga.data)


class OverdueFilter(admin.SimpleListFilter):
    """Open and past its due time."""

    title = "due"
    parameter_name = "due"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:  # noqa: ARG002
        """Name the choice."""
        return [("overdue", "Overdue")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Case]) -> QuerySet[Case]:  # noqa: ARG002
        """Restrict to what is overdue."""
        if self.value() != "overdue":
            return queryset
        return queryset.filter(status=Case.Status.OPEN, due_at__lt=timezone.now())


class ConfirmForm(forms.Form):
    """Why an operator wants it, under which reference it was done, and what was seen."""

    reason = forms.CharField(widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}), help_text="The next person will read it.")
    reference = forms.CharField(
        widget=UnfoldAdminTextInputWidget(), help_text="Where it can be looked up: a ticket, a transfer, a letter."
    )
    seen = forms.DateTimeField(widget=forms.HiddenInput())

    def __init__(self, *args: Any, case: Case, case_action: CaseAction, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not case_action.needs_reference:
            del self.fields["reference"]
        if case.saga is None:
            del self.fields["seen"]
        else:
            self.initial["seen"] = case.saga.updated_at.isoformat()


@admin.register(Case)
class CaseAdmin(ReadOnlyAdmin):
    """What waits for a person: open ones first, the most urgent on top."""

    id_fields = ("key", "saga_id", "message_id")
    search_help_text = "Order id, saga id or message id"
    # Cases are few: people have to work through them.
    paginator = Paginator
    list_display = ("number", "state", "what", "error_class", "short_order", "owner", "due", "attempts")
    list_filter = ("status", OverdueFilter, "resolution", ("step", admin.AllValuesFieldListFilter))
    ordering = ("-status", F("closed_at").desc(nulls_first=True), "due_at", "id")
    sortable_by = ()
    list_select_related = ("saga",)
    change_form_outer_after_template = "desk/tables.html"
    actions_detail: ClassVar = ("retry", "skip", "resolve", "abandon")

    def get_fields(self, request: HttpRequest, obj: Case | None = None) -> list[tuple[str, ...]]:  # noqa: ARG002
        """Show how it ended once it has."""
        is_closed = obj is not None and obj.status == Case.Status.CLOSED
        return [
            ("state", "step_now"),
            *([("reason", "reference"), ("closed", "handled_by")] if is_closed else []),
            ("order", "saga_page"),
            ("what", "attempts"),
            ("error_class", "fingerprint"),
            ("error",),
            ("opened", "due"),
            ("owner",),
        ]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Case]:
        """Read each case with its saga."""
        found: QuerySet[Case] = super().get_queryset(request).select_related("saga")
        return found

    def get_actions_detail(self, request: HttpRequest, object_id: Any) -> list[UnfoldAction]:
        """Offer what can be done with this case and what the operator may do."""
        case = self.get_object(request, str(object_id))
        if case is None or case.status != Case.Status.OPEN:
            return []
        allowed: list[UnfoldAction] = super().get_actions_detail(request, object_id)
        hidden = set() if case.saga_id else {"skip"}
        return [each for each in allowed if each.path not in hidden]

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """Show a case with the story behind it."""
        case = self.get_object(request, object_id)
        return super().change_view(  # type: ignore[no-any-return]
            request, object_id, form_url, {**(extra_context or {}), "tables": _background(case) if case else []}
        )

    @action(
        description="Retry",
        permissions=[RETRY.permission, "view"],
        icon="replay",
        variant=ActionVariant.PRIMARY,
    )
    def retry(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Send it again."""
        return self._confirm(request, object_id, RETRY)

    @action(description="Skip", permissions=[SKIP.permission, "view"], icon="skip_next")
    def skip(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Go on without it."""
        return self._confirm(request, object_id, SKIP)

    @action(description="Resolve by hand", permissions=[RESOLVE.permission, "view"], icon="handyman")
    def resolve(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Record that it was done by hand."""
        return self._confirm(request, object_id, RESOLVE)

    @action(
        description="Abandon",
        permissions=[ABANDON.permission, "view"],
        icon="block",
        variant=ActionVariant.DANGER,
    )
    def abandon(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Close it as it is."""
        return self._confirm(request, object_id, ABANDON)

    def _confirm(self, request: HttpRequest, object_id: str, case_action: CaseAction) -> HttpResponse:
        """Show what would happen; on POST, do it."""
        case = self.get_object(request, object_id)
        if case is None:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)  # type: ignore[no-any-return]
        page = reverse("admin:sagas_case_change", args=[case.pk])
        form = ConfirmForm(request.POST or None, case=case, case_action=case_action)
        status = 200
        if request.method == "POST" and form.is_valid():
            try:
                result = case_action.carry_out(
                    case=case, operator=request.user.get_username(), form=form.cleaned_data
                )
            except (Refused, UnknownDefinition) as refusal:
                self.message_user(request, f"Nothing was changed: {refusal}", messages.ERROR)
                status = 409
            else:
                self._say(request, case_action, result)
                return HttpResponseRedirect(page)
        try:
            ahead = preview(self.get_object(request, object_id), case_action)
        except Refused as refusal:
            if status == 200:
                self.message_user(request, f"{case_action.title} is not possible: {refusal}", messages.ERROR)
            return HttpResponseRedirect(page)
        ...
