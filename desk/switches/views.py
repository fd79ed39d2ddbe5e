"""The pages of the switches: how each stands, and the page between a person's wish and its effect."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.views.decorators.http import require_GET, require_http_methods
from django_celery_beat.models import PeriodicTask
from unfold.widgets import UnfoldAdminTextareaWidget

from desk.operators import operator_of, origin_of
from desk.pages import desk_page, show
from desk.switches import schedules
from desk.switches.throws import NoSuchSwitch, Throw, pause_state, rate_state, throw_of
from desk.tables import Table
from outbox import breaker, pausing, rates
from outbox.consumers import CONSUMERS
from outbox.desk import badge, clock, link
from outbox.models import Pause
from sagas.engine import Refused
from sagas.switches import PERMISSION, REFUSALS, SwitchedMeanwhile

# Who may see how they stand: whoever sees what waits.
VIEW = "outbox.view_delivery"
BREAKERS = {"closed": "success", "open": "danger", "held open": "danger", "unknown": "warning"}


class ThrowForm(forms.Form):
    """What to set it to, why, and how it stood when the page was shown."""

    def __init__(self, *args: Any, throw: Throw, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields.update(throw.fields)
        self.fields["reason"] = forms.CharField(
            widget=UnfoldAdminTextareaWidget(attrs={"rows": 3}),
            help_text="The next person will read it: in the operator log, and here while it holds.",
        )
        self.fields["seen"] = forms.CharField(widget=forms.HiddenInput(), initial=throw.state)


@desk_page()
@require_GET
def switches(request: HttpRequest) -> HttpResponse:
    """Show how everything stands that can be switched."""
    may_switch = request.user.has_perm(PERMISSION)
    if not may_switch and not request.user.has_perm(VIEW):
        raise PermissionDenied
    rate = rates.rate()
    sections = [
        (
            "A paused destination gets nothing more: what is said to it waits, whole and in order.",
            _destinations(may_switch),
        ),
        (
            "So many a second are sent by all workers together: a storm of turning orders must not strike the bank.",
            _rate(rate, may_switch),
        ),
        (
            "An open one keeps all from calling a service that is away. It closes when a probe succeeds, or by hand.",
            _breakers(may_switch),
        ),
        (
            "What runs by itself. A change holds within a second; beat notes every 3 minutes when each ran last.",
            _schedules(may_switch),
        ),
    ]
    return show(request, "desk/switches.html", title="Switches", sections=sections, may_switch=may_switch)


@desk_page(PERMISSION)
@require_http_methods(["GET", "POST"])
def throw(request: HttpRequest, kind: str, name: str, verb: str) -> HttpResponse:
    """Show what it would do; on POST do it, unless somebody else has thrown it since it was shown."""
    status = 200
    try:
        wanted = throw_of(kind, name, verb)
    except NoSuchSwitch as error:
        raise Http404(str(error)) from error
    except Refused as refusal:
        return _refused(request, refusal)
    form = ThrowForm(request.POST if request.method == "POST" else None, throw=wanted)
    if request.method == "POST" and form.is_valid():
        told = dict(form.cleaned_data)
        try:
            if told.pop("seen") != wanted.state:
                raise SwitchedMeanwhile(f"it has changed since you looked: it is {wanted.state} now")
            wanted.act(operator=operator_of(request), origin=origin_of(request), **told)
        except REFUSALS as refusal:
            messages.error(request, f"Nothing was changed: {refusal}.")
            status = 409
            # What was typed stays; what is sent next has seen how it stands now.
            form = ThrowForm({**request.POST.dict(), "seen": wanted.state}, throw=wanted)
        else:
            messages.success(request, f"{wanted.title}: done.")
            return HttpResponseRedirect(reverse("desk:switches"))
    return show(
        request, "desk/switch.html", title=wanted.title, status=status, throw=wanted, form=form, fields=_fields(form)
    )


def _fields(form: ThrowForm) -> list[forms.BoundField]:
    return [field for field in form if not field.is_hidden]


def _refused(request: HttpRequest, refusal: Refused) -> HttpResponse:
    back_url = reverse("desk:switches")
    if request.method != "POST":
        messages.error(request, f"Nothing was changed: {refusal}.")
        return HttpResponseRedirect(back_url)
    told = {"why": str(refusal), "typed": request.POST.get("reason", ""), "back_url": back_url}
    return show(request, "desk/refused.html", title="Not possible", status=409, back="Back to the switches", **told)


def _destinations(may_switch: bool) -> Table:
    held = {pause.destination: pause for pause in pausing.pauses()}
    rows = []
    for name in sorted(consumer.name for consumer in CONSUMERS):
        pause = held.get(name)
        verbs = [("resume", "Resume")] if pause else [("pause", "Pause")]
        rows.append(
            [
                name,
                _pause_badge(pause),
                f"{pause_state(pause)}: {pause.reason}" if pause else "-",
                *_links("destination", name, verbs, may_switch),
            ]
        )
    return Table("Destinations", ["destination", "state", "since when and why", *_header(may_switch)], rows)


def _pause_badge(pause: Pause | None) -> SafeString:
    if pause is None:
        return badge("running", "success")
    return badge("compensations paused" if pause.compensations_only else "paused", "danger")


def _rate(rate: rates.Rate, may_switch: bool) -> Table:
    verbs = [("set", "Change"), *([("clear", "Back to the settings")] if rate.is_changed else [])]
    row = [
        badge(rate_state(rate), "warning" if rate.is_changed else "success"),
        rate.setting,
        clock(rate.changed_at),
        rate.reason or "-",
        *_links("rate", "compensations", verbs, may_switch),
    ]
    headers = ["limit", "in the settings", "changed at (UTC)", "reason", *_header(may_switch)]
    return Table("Compensations", headers, [row])


def _breakers(may_switch: bool) -> Table:
    rows = []
    for status in breaker.statuses():
        verbs = [("open", "Hold open")] if status.state != "held open" else []
        verbs += [("close", "Close")] if status.state not in {"closed", "unknown"} else []
        rows.append(
            [
                status.gateway,
                badge(status.state, BREAKERS[status.state]),
                clock(status.since),
                clock(status.next_probe_at),
                status.held_by or "-",
                *_links("breaker", status.gateway, verbs, may_switch),
            ]
        )
    headers = ["gateway", "breaker", "since (UTC)", "next probe (UTC)", "held by", *_header(may_switch)]
    return Table("Breakers", headers, rows)


def _schedules(may_switch: bool) -> Table:
    rows = []
    for task in PeriodicTask.objects.select_related("interval", "crontab", "solar", "clocked").order_by("name"):
        verbs = [("off", "Turn off")] if task.enabled else [("on", "Turn on")]
        verbs += [("change", "How often")] if schedules.seconds_of(task) is not None else []
        rows.append(
            [
                task.name,
                badge("on", "success") if task.enabled else badge("off", "danger"),
                schedules.pace_of(task),
                clock(task.last_run_at),
                task.description or "-",
                *_links("schedule", str(task.pk), verbs, may_switch),
            ]
        )
    headers = ["schedule", "state", "runs", "last run (UTC)", "what for", *_header(may_switch)]
    return Table("Schedules", headers, rows)


def _header(may_switch: bool) -> list[str]:
    return ["switch"] if may_switch else []


def _links(kind: str, name: str, verbs: list[tuple[str, str]], may_switch: bool) -> list[SafeString]:
    if not may_switch:
        return []
    links = [(link(reverse("desk:switch", args=[kind, name, verb]), text),) for verb, text in verbs]
    return [format_html('<span class="flex gap-3 whitespace-nowrap">{}</span>', format_html_join("", "{}", links))]
