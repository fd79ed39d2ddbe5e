"""The page between an operator's wish and its effect: what will happen, why it is wanted, what was seen."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from unfold.widgets import UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from desk.actions import ABANDON, ACTIONS, CaseAction, preview
from desk.tables import state_badge, steps_table
from sagas import four_eyes, services
from sagas.engine import Refused
from sagas.instances import UnknownDefinition
from sagas.models import Approval, Case


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


class DecisionForm(forms.Form):
    """Why it is approved or declined."""

    reason = forms.CharField(
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}), help_text="The next person will read it."
    )


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
    needs_approval = four_eyes.is_needed(action=case_action.name, data=case.saga.data if case.saga else {})
    context |= {
        "title": f"{case_action.title}: {case}",
        "heading": f"{case_action.title}: what will happen" + (" once another person approves" * needs_approval),
        "button": f"Ask for approval: {case_action.title}" if needs_approval else case_action.title,
        "opts": Case._meta,  # noqa: SLF001 - the admin templates ask for it
        "original": case,
        "saga_state": state_badge(case.saga.status) if case.saga else "",
        "next_state": state_badge(ahead.status) if ahead.status else "",
        "effects": ahead.effects,
        "table": steps_table(case.saga, title="Steps now") if case.saga else None,
        "form": form,
        "seen": case.saga.updated_at.isoformat() if case.saga else "",
        "case_url": _case_url(case),
        "variant": "danger" if case_action is ABANDON else "primary",
    }
    return TemplateResponse(request, "desk/confirm.html", context, status=status)


def decide(
    request: HttpRequest, case: Case, approval: Approval, *, is_approval: bool, context: dict[str, Any]
) -> HttpResponse:
    """Show what another person has asked for and what it would do; on POST approve or decline it."""
    case_action = ACTIONS[approval.action]
    title = f"{'Approve' if is_approval else 'Decline'}: {case_action.title}"
    form = DecisionForm(request.POST or None)
    try:
        if request.method == "POST" and form.is_valid():
            given = {"operator": request.user.get_username(), "reason": form.cleaned_data["reason"]}
            if is_approval:
                _say(request, case_action, services.approve(approval_id=approval.pk, **given))
            else:
                services.decline(approval_id=approval.pk, **given)
                messages.success(request, f"{case_action.title}: declined.")
            return _to_case(case)
        ahead = preview(case, case_action)
    except (Refused, UnknownDefinition) as refusal:
        messages.error(request, f"Nothing was changed: {refusal}.")
        return _to_case(case)
    reference = [f"Reference: {approval.reference}"] if approval.reference else []
    context |= {
        "title": f"{title}, {case}",
        "heading": title,
        "button": title,
        "opts": Case._meta,  # noqa: SLF001 - the admin templates ask for it
        "original": case,
        "saga_state": state_badge(case.saga.status) if case.saga and is_approval else "",
        "next_state": state_badge(ahead.status) if ahead.status else "",
        "effects": [
            f"{approval.requested_by} has asked for it: {approval.reason}",
            *reference,
            *(ahead.effects if is_approval else ["Nothing is done."]),
        ],
        "table": steps_table(case.saga, title="Steps now") if case.saga else None,
        "form": form,
        "case_url": _case_url(case),
        "variant": "primary" if is_approval else "danger",
    }
    return TemplateResponse(request, "desk/confirm.html", context)


def _say(request: HttpRequest, case_action: CaseAction, result: str) -> None:
    if result == four_eyes.AWAITS_APPROVAL:
        messages.warning(request, f"{case_action.title}: asked for. Another person has to approve it first.")
    elif result == "done":
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
