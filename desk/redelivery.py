"""The page that delivers an event to one consumer again: what has each consumer done with it, and what it would do."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import reverse
from unfold.widgets import UnfoldAdminRadioSelectWidget, UnfoldAdminTextareaWidget

from desk.confirmation import REASON_LENGTH
from desk.operators import operator_of, origin_of
from desk.pages import desk_page, show
from desk.tables import Table
from outbox.consumers import CONSUMERS
from outbox.desk import badge, clock
from outbox.models import Delivery, Message
from outbox.publishing import routing
from outbox.replacing import DELIVERED_AGAIN
from outbox.selectors import handled_at
from sagas import redelivery
from sagas.engine import Refused

PERMISSION = "sagas.redeliver_message"


class RedeliverForm(forms.Form):
    """To whom, and why."""

    consumer = forms.ChoiceField(widget=UnfoldAdminRadioSelectWidget())
    reason = forms.CharField(
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
        max_length=REASON_LENGTH,
        help_text="The next person will read it.",
    )

    def __init__(self, *args: Any, consumers: list[str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["consumer"].choices = [(name, name) for name in consumers]  # type: ignore[attr-defined]


@desk_page("outbox.view_message", PERMISSION)
def redeliver(request: HttpRequest, message_id: UUID) -> HttpResponse:
    """Show what became of a message at each consumer; on POST deliver it to one of them again."""
    message = get_object_or_404(Message, pk=message_id)
    url = reverse("admin:outbox_message_change", args=[message.pk])
    consumers = [name for name in routing().destinations.get(message.type, ()) if name in CONSUMERS]
    form = RedeliverForm(request.POST or None, consumers=consumers)
    back = "Back to the message"
    try:
        redelivery.require_event(message)
        if request.method == "POST" and form.is_valid():
            consumer = form.cleaned_data["consumer"]
            given = {"operator": operator_of(request), "origin": origin_of(request)}
            result = redelivery.redeliver(
                message_id=message.pk, destination=consumer, reason=form.cleaned_data["reason"], **given
            )
            _say(request, message, consumer, result)
            return HttpResponseRedirect(url)
    except Refused as refusal:
        typed = request.POST.get("reason", "")
        return show(
            request,
            "desk/refused.html",
            title="Nothing was changed",
            status=409,
            why=str(refusal),
            typed=typed,
            back_url=url,
            back=back,
        )
    return show(
        request,
        "desk/redeliver.html",
        title=f"Deliver {message.type} again",
        message=message,
        said_at=clock(message.time),
        table=_standing(message, consumers),
        form=form,
        back_url=url,
        back=back,
    )


def _say(request: HttpRequest, message: Message, consumer: str, result: str) -> None:
    if result == DELIVERED_AGAIN:
        text = f"{message.type} is delivered to {consumer} again: requested. The operator log tells what comes of it."
        messages.info(request, text)
    else:
        messages.success(request, f"{consumer} has handled {message.type} already: nothing was delivered.")


def _standing(message: Message, consumers: list[str]) -> Table:
    handled = handled_at(pairs={(name, message.pk) for name in consumers})
    waiting = Delivery.objects.filter(ordering_key=message.ordering_key, message_id=message.pk)
    dead_at = dict(waiting.values_list("destination", "dead_at"))
    rows = []
    for name in consumers:
        if name in dead_at:
            state = badge("dead", "danger") if dead_at[name] else badge("on its way", "info")
            rows.append([name, state, "retry its case" if dead_at[name] else "nothing to do"])
        elif (name, message.pk) in handled:
            at = clock(handled[name, message.pk])
            rows.append([name, badge("handled", "success"), f"handled at {at}: it would not be let through again"])
        elif CONSUMERS[name].deduplicates:
            rows.append([name, badge("not handled", "warning"), "it would handle it"])
        else:
            rows.append([name, badge("delivered"), "its own rows say what it has applied: the rest it ignores"])
    return Table("What became of it", ["consumer", "state", "if it is delivered again"], rows)
