"""The page that edits the message of a case and sends it again: a form made of the message, and what is against it."""

from __future__ import annotations

import json
from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from unfold.widgets import UnfoldAdminTextareaWidget

from desk.actions import EDIT
from desk.actions.previews import preview_of_edit
from desk.confirmation import ConfirmForm, Subject, page_of, refused, say
from desk.operators import operator_of, origin_of
from desk.pages import desk_page, show
from orders.api.card_numbers import card_number_paths
from outbox.models import Message
from outbox.redaction import REDACTED
from sagas import editing, services
from sagas.engine import Refused
from sagas.instances import UnknownDefinition
from sagas.models import Case

# The largest message of ours is an order of a hundred lines, some 10 kB.
MOST_CHARACTERS = 100_000


class EditForm(ConfirmForm):
    """The payload as JSON, why it is edited, and which state the operator saw."""

    payload = forms.CharField(
        max_length=MOST_CHARACTERS,
        widget=UnfoldAdminTextareaWidget(
            attrs={"rows": 14, "spellcheck": "false", "autocomplete": "off", "class": "font-mono"}
        ),
        help_text=f"JSON. {REDACTED} stands for what is about a person: left as it is, it stays what it was; to change "
        "it, write the whole value in its place.",
    )

    field_order = ("payload", "reason")

    def __init__(self, *args: Any, message: Message, **kwargs: Any) -> None:
        super().__init__(*args, needs_reference=False, **kwargs)
        self.message = message

    def clean_payload(self) -> dict[str, Any]:
        """Return what was edited, with what was struck out put back. Raises `ValidationError`."""
        try:
            typed = json.loads(self.cleaned_data["payload"])
        except (ValueError, RecursionError) as error:
            raise forms.ValidationError(f"It is no JSON: {error}.") from error
        if card_number_paths(body=typed):
            raise forms.ValidationError("It holds what looks like a card number. Those are never kept here.")
        payload: dict[str, Any] = editing.filled_in(self.message, typed)
        try:
            editing.check(self.message, payload)
        except editing.Misfit as misfit:
            raise forms.ValidationError(f"{misfit}.") from misfit
        return payload


@desk_page("sagas.view_case", EDIT.permission)
def edit(request: HttpRequest, case_id: int) -> HttpResponse:
    """Show the message of a case in a form; on POST send the edited one in its place, or say why that is not safe."""
    case = get_object_or_404(Case.objects.select_related("saga"), pk=case_id)
    subject = Subject(case.saga, case)
    typed = request.POST.get("reason", "")
    try:
        message = editing.message_of(case.message_id)
        editing.dead_since(case, message)
        editing.require_something_free(message)
        free = editing.free_fields(message)
        form = EditForm(
            request.POST or None,
            subject=subject,
            message=message,
            initial={"payload": json.dumps(editing.shown(message), indent=2, ensure_ascii=False)},
        )
        if request.method == "POST" and form.is_valid():
            result = services.edit(
                case_id=case.pk,
                payload=form.cleaned_data["payload"],
                operator=operator_of(request),
                origin=origin_of(request),
                reason=form.cleaned_data["reason"],
                seen_at=form.cleaned_data["seen"],
            )
            say(request, EDIT, result)
            return HttpResponseRedirect(subject.url)
        ahead = preview_of_edit(case, message)
    except (Refused, UnknownDefinition) as refusal:
        return refused(request, subject, str(refusal), typed=typed, context=admin.site.each_context(request))
    return show(
        request,
        "desk/confirm.html",
        **page_of(subject, EDIT, ahead),
        form=form,
        fixed=editing.fixed_fields(message),
        free=free,
        wire_type=message.type,
    )
