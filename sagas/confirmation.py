"""The page between an operator's wish and its effect: what will happen, why it is wanted, what was seen."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from unfold.widgets import UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from sagas.case_actions import ABANDON, CaseAction, preview
from sagas.desk import state_badge, steps_table
from sagas.engine import Refused
from sagas.instances import UnknownDefinition
from sagas.models import Case


class ConfirmForm(forms.Form):
    """Why it is wanted, under which reference it was done by hand, and which state the operator saw."""

    reason = forms.CharField(
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}), help_text="The next person will read it."
    )
    reference = forms.CharField(
        widget=UnfoldAdminTextInputWidget(),
        help_text="Where it can be looked up: a transfer, a ticket, a letter.",
    )
    seen = forms.DateTimeField(widget=forms.HiddenInput())

    def __init__(self, *args: Any, case: Case, case_action: CaseAction, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not case_action.needs_reference:
            del self.fields["reference"]
        if case.saga is None:
            del self.fields["seen"]


def confirm(request: HttpRequest, case: Case, case_action: CaseAction, *, context: dict[str, Any]) -> HttpResponse:
    """Show what the action would do; on POST do it, unless the case has changed since it was shown."""
    form = ConfirmForm(request.POST or None, case=case, case_action=case_action)
    status = 200
    if request.method == "POST" and form.is_valid():
        try:
            result = case_action.carry_out(case=case, operator=request.user.get_username(), form=form.cleaned_data)
        except (Refused, UnknownDefinition) as refusal:
            messages.error(request, f"Nothing was changed: {refusal}.")
            status = 409
            case = Case.objects.select_related("saga").get(pk=case.pk)
        else:
            _say(request, case_action, result)
            return _to_case(case)
    try:
        ahead = preview(case, case_action)
    except Refused as refusal:
        if status == 200:
            messages.error(request, f"{case_action.title} is not possible: {refusal}.")
        return _to_case(case)
    context |= {
        "title": f"{case_action.title}: {case}",
        "heading": f"{case_action.title}: what will happen",
        "opts": Case._meta,  # noqa: SLF001 - the admin templates ask for it
        "original": case,
        "saga_state": state_badge(case.saga.status) if case.saga else "",
        "next_state": state_badge(ahead.status) if ahead.status else "",
        "action": case_action,
        "effects": ahead.effects,
        "table": steps_table(case.saga, title="Steps now") if case.saga else None,
        "form": form,
        "seen": case.saga.updated_at.isoformat() if case.saga else "",
        "case_url": _case_url(case),
        "variant": "danger" if case_action is ABANDON else "primary",
    }
    return TemplateResponse(request, "sagas/confirm.html", context, status=status)


def _say(request: HttpRequest, case_action: CaseAction, result: str) -> None:
    if result == "done":
        messages.success(request, f"{case_action.title}: done.")
    else:
        messages.info(
            request,
            f"{case_action.title}: requested. It takes effect when the command is carried out.",
        )


def _to_case(case: Case) -> HttpResponse:
    return HttpResponseRedirect(_case_url(case))


def _case_url(case: Case) -> str:
    return reverse("admin:sagas_case_change", args=[case.pk])
