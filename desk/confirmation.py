"""The page between an operator's wish and its effect: what will happen, why it is wanted, what was seen.

One page for everything that can be done with a case or a saga, and one for deciding on what somebody else has asked
for. Looking changes nothing; sending the form does it once, or says with 409 why not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from unfold.widgets import UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget

from desk.actions import ABANDON, EDIT, EVERY_ACTION, CaseAction, Preview, lookups, preview, seen_at_of
from desk.actions.outlook import Planned
from desk.operators import operator_of, origin_of
from desk.tables import Table, state_badge, steps_table
from sagas import editing, four_eyes, services
from sagas.engine import Refused
from sagas.instances import UnknownDefinition
from sagas.models import Approval, Case, SagaInstance

# A ticket tells more; a reference is what one looks it up by.
REASON_LENGTH, REFERENCE_LENGTH = 2_000, 200
# Not as things are, but not by this person.
_FORBIDDEN = (four_eyes.SamePerson, four_eyes.MayNotApprove)


@dataclass(frozen=True, slots=True)
class Subject:
    """What an action is about: a case, with its saga if it has one, or a saga alone."""

    saga: SagaInstance | None
    case: Case | None = None

    @classmethod
    def of_approval(cls, approval: Approval) -> Subject:
        """Return what somebody has asked for something about: the saga's open case if there is one."""
        cases = Case.objects.select_related("saga").filter(status=Case.Status.OPEN)
        case = approval.case or cases.filter(saga_id=approval.saga_id).order_by("pk").first()
        return cls(approval.saga, case)

    @property
    def title(self) -> str:
        """Its name."""
        return str(self.case or self.saga)

    @property
    def url(self) -> str:
        """Its page."""
        if self.case is not None:
            return reverse("admin:sagas_case_change", args=[self.case.pk])
        assert self.saga is not None  # noqa: S101 - one of the two is given
        return reverse("admin:sagas_sagainstance_change", args=[self.saga.pk])

    @property
    def back(self) -> str:
        """The words of the link to it."""
        return "Back to the case" if self.case is not None else "Back to the saga"

    @property
    def seen(self) -> str:
        """The mark of its state, for the form."""
        at = seen_at_of(self.case) if self.case is not None else None
        at = self.saga.updated_at if self.saga is not None else at
        return at.isoformat() if at else ""

    def fresh(self) -> Subject:
        """Return it as it is now."""
        saga = SagaInstance.objects.get(pk=self.saga.pk) if self.saga is not None else None
        case = Case.objects.select_related("saga").get(pk=self.case.pk) if self.case is not None else None
        return Subject(saga, case)


class ConfirmForm(forms.Form):
    """Why it is wanted, under which reference it was done by hand, and which state the operator saw."""

    reason = forms.CharField(
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        max_length=REASON_LENGTH,
        help_text="The next person will read it.",
    )
    reference = forms.CharField(
        widget=UnfoldAdminTextInputWidget(),
        max_length=REFERENCE_LENGTH,
        help_text="Where it can be looked up: a transfer, a ticket, a letter.",
    )
    seen = forms.DateTimeField(widget=forms.HiddenInput())
    looked_up = forms.CharField(widget=forms.HiddenInput(), required=False)

    def __init__(self, *args: Any, subject: Subject, needs_reference: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not needs_reference:
            del self.fields["reference"]
        # A case outside any saga may have no delivery any more that could have changed.
        self.fields["seen"].required = subject.saga is not None


class DecisionForm(forms.Form):
    """Why it is approved or declined."""

    reason = forms.CharField(
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        max_length=REASON_LENGTH,
        help_text="The next person will read it.",
    )


def confirm(request: HttpRequest, case: Case, case_action: CaseAction, *, context: dict[str, Any]) -> HttpResponse:
    """Show what the action would do to a case; on POST do it, unless the case has changed since it was shown."""

    def do(form: dict[str, Any]) -> str:
        return case_action.carry_out(case=case, **_given(request, form))

    return _confirm(request, Subject(case.saga, case), case_action, do, context)


def confirm_on_saga(
    request: HttpRequest, saga: SagaInstance, case_action: CaseAction, *, context: dict[str, Any]
) -> HttpResponse:
    """Show what the action would do to a saga; on POST do it, unless the saga has changed since it was shown."""

    def do(form: dict[str, Any]) -> str:
        return case_action.carry_out_on(saga=saga, **_given(request, form))

    return _confirm(request, Subject(saga), case_action, do, context)


def decide(
    request: HttpRequest, case: Case | None, approval: Approval, *, is_approval: bool, context: dict[str, Any]
) -> HttpResponse:
    """Show what another person has asked for and what it would do; on POST approve or decline it."""
    subject = Subject(case.saga, case) if case is not None else Subject.of_approval(approval)
    case_action = EVERY_ACTION[approval.action]
    title = f"{'Approve' if is_approval else 'Decline'}: {case_action.title}"
    form = DecisionForm(request.POST or None)
    try:
        if is_approval:
            four_eyes.require_another(approval, operator=operator_of(request))
        if request.method == "POST" and form.is_valid():
            given = {
                "operator": operator_of(request),
                "origin": origin_of(request),
                "reason": form.cleaned_data["reason"],
            }
            if is_approval:
                say(request, case_action, services.approve(approval_id=approval.pk, **given))
            else:
                services.decline(approval_id=approval.pk, **given)
                messages.success(request, f"{case_action.title}: declined.")
            return HttpResponseRedirect(subject.url)
        ahead = preview(case_action, case=subject.case, saga=subject.saga) if is_approval else Preview([])
    except (Refused, UnknownDefinition) as refusal:
        typed, status = request.POST.get("reason", ""), 403 if isinstance(refusal, _FORBIDDEN) else 409
        return refused(request, subject, str(refusal), typed=typed, status=status, context=context)
    inquiries = lookups.ask_about(ahead.to_ask)
    context |= {
        **_frame(subject, case_action, title),
        **_tables(subject, ahead),
        **_said(inquiries),
        "button": title,
        "effects": [*_asked(approval), *(ahead.effects if is_approval else ["Nothing is done."])],
        "form": form,
        "variant": "primary" if is_approval else "danger",
    }
    return TemplateResponse(request, "desk/confirm.html", context)


def refused(
    request: HttpRequest, subject: Subject, why: str, *, typed: str = "", status: int = 409, context: dict[str, Any]
) -> HttpResponse:
    """Say why nothing was changed, and give back what was typed."""
    context |= {
        "title": f"Nothing was changed: {subject.title}",
        "why": why,
        "typed": typed,
        "back_url": subject.url,
        "back": subject.back,
    }
    return TemplateResponse(request, "desk/refused.html", context, status=status)


def say(request: HttpRequest, case_action: CaseAction, result: str) -> None:
    """Tell the operator what came of it, and no more than that."""
    if result == four_eyes.AWAITS_APPROVAL:
        messages.warning(request, f"{case_action.title}: asked for. Another person has to approve it first.")
    elif result == "done":
        messages.success(request, f"{case_action.title}: done.")
    else:
        messages.info(
            request,
            f"{case_action.title}: requested. It takes effect when the command is carried out; "
            "the operator log tells whether it was done or has failed again.",
        )


def _confirm(
    request: HttpRequest,
    subject: Subject,
    case_action: CaseAction,
    do: Callable[[dict[str, Any]], str],
    context: dict[str, Any],
) -> HttpResponse:
    form = ConfirmForm(request.POST or None, subject=subject, needs_reference=case_action.needs_reference)
    status, refusal = 200, ""
    if request.method == "POST" and form.is_valid():
        try:
            result = do(form.cleaned_data)
        except (Refused, UnknownDefinition) as error:
            status, refusal = 409, str(error)
            subject = subject.fresh()
        else:
            say(request, case_action, result)
            return HttpResponseRedirect(subject.url)
    try:
        ahead = preview(case_action, case=subject.case, saga=subject.saga)
    except (Refused, UnknownDefinition) as error:
        typed = request.POST.get("reason", "")
        why = refusal or f"{case_action.title} is not possible: {error}"
        return refused(request, subject, why, typed=typed, context=context)
    if refusal:
        messages.error(request, f"Nothing was changed: {refusal}.")
    context |= {**page_of(subject, case_action, ahead), "form": form}
    return TemplateResponse(request, "desk/confirm.html", context, status=status)


def page_of(subject: Subject, case_action: CaseAction, ahead: Preview) -> dict[str, Any]:
    """Return what the page shows of an action, bank and carrier asked; the form is the caller's."""
    needs_approval = bool(ahead.approval)
    heading = f"{case_action.title}: what will happen" + (" once another person approves" * needs_approval)
    inquiries = lookups.ask_about(ahead.to_ask)
    return {
        **_frame(subject, case_action, heading),
        **_tables(subject, ahead),
        **_said(inquiries),
        "button": f"Ask for approval: {case_action.title}" if needs_approval else case_action.title,
        "effects": ahead.effects,
        "approval": ahead.approval or "Nobody else has to approve it.",
        "seen": subject.seen,
        "looked_up": lookups.sealed(inquiries),
        "variant": "danger" if case_action is ABANDON else "primary",
    }


def _given(request: HttpRequest, form: dict[str, Any]) -> dict[str, Any]:
    return {
        "operator": operator_of(request),
        "origin": origin_of(request),
        "reason": form["reason"],
        "reference": form.get("reference", ""),
        "seen_at": form.get("seen"),
        "outside": lookups.opened(form.get("looked_up", "")),
    }


def _frame(subject: Subject, case_action: CaseAction, heading: str) -> dict[str, Any]:
    return {
        "title": f"{case_action.title}: {subject.title}",
        "heading": heading,
        "opts": (Case if subject.case is not None else SagaInstance)._meta,  # noqa: SLF001 - the admin templates ask for it
        "original": subject.case or subject.saga,
        "back_url": subject.url,
        "back": subject.back,
    }


def _tables(subject: Subject, ahead: Preview) -> dict[str, Any]:
    return {
        "saga_state": state_badge(subject.saga.status) if subject.saga and ahead.status else "",
        "next_state": state_badge(ahead.status) if ahead.status else "",
        "last_state": state_badge(ahead.good_end) if ahead.good_end else "",
        "money": ahead.money,
        "calls": _calls_table(ahead.calls) if ahead.calls else None,
        "table": steps_table(subject.saga, title="Steps now") if subject.saga else None,
    }


def _calls_table(calls: list[Planned]) -> Table:
    rows = [
        [
            "then" if planned.later else "at once",
            f"{planned.wire_type}{' (again)' if planned.is_again else ''}",
            planned.where,
            planned.call.key,
            planned.money or "-",
        ]
        for planned in calls
    ]
    return Table("What is called", ["when", "command", "carried out by", "idempotency key", "money"], rows)


def _said(inquiries: list[Any]) -> dict[str, Any]:
    return {"said": lookups.sentences(inquiries), "ledger": lookups.ledger_table(inquiries) if inquiries else None}


def _asked(approval: Approval) -> list[str]:
    lines = [f"{approval.requested_by} has asked for it: {approval.reason}"]
    if approval.reference:
        lines.append(f"Reference: {approval.reference}")
    if approval.action == EDIT.name and approval.details:
        change = editing.Change.read(approval.details["change"])
        lines += [f"{name}: {old} becomes {new}" for name, (old, new) in change.difference.items()]
    return lines
