"""What each switch can do: told before it is done, and done by the service that answers for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from django import forms
from django.conf import settings
from django_celery_beat.models import PeriodicTask
from unfold.widgets import UnfoldAdminIntegerFieldWidget, UnfoldAdminSelectWidget

from desk.switches import schedules
from outbox import breaker, pausing, rates
from outbox.consumers import CONSUMERS
from outbox.desk import clock, duration
from outbox.models import Pause
from outbox.selectors import waiting_for
from sagas import switches
from sagas.engine import Refused

EVERYTHING, COMPENSATIONS = "everything", "compensations"
# Counted no further: above that it is many.
COUNTED = 10_000
_START = datetime(2000, 1, 1, tzinfo=UTC)


class NoSuchSwitch(LookupError):
    """No switch is called so, or it cannot be thrown that way."""


@dataclass(frozen=True, slots=True)
class Throw:
    """One thing to do with one switch. `act` takes who and why, and what the fields say; `state` is what is seen."""

    title: str
    effects: list[str]
    state: str
    act: Callable[..., None]
    fields: Mapping[str, forms.Field] = field(default_factory=dict)
    is_dangerous: bool = False


def throw_of(kind: str, name: str, verb: str) -> Throw:
    """Return what this would do, as things are now. Raises `NoSuchSwitch`; `Refused` when it cannot be done now."""
    try:
        return _THROWS[kind, verb](name)
    except KeyError as error:
        raise NoSuchSwitch(f"no switch {kind} can {verb}") from error


# --- destinations ---


def pause_state(pause: Pause | None) -> str:
    """Return in words how a destination stands."""
    if pause is None:
        return "running"
    what = "compensations paused" if pause.compensations_only else "paused"
    return f"{what} since {clock(pause.paused_at)} by {pause.paused_by}"


def _pause(name: str) -> Throw:
    _require_destination(name)
    if (held := _pause_of(name)) is not None:
        raise Refused(f"{name} is {pause_state(held)} already; resume it first")

    def act(*, what: str, **who: str) -> None:
        switches.pause(destination=name, compensations_only=what == COMPENSATIONS, **who)

    patience = duration(_START, _START + timedelta(seconds=settings.OUTAGE_PATIENCE_SECONDS))
    choices = [(EVERYTHING, "Everything"), (COMPENSATIONS, "Compensations only: what undoes a step")]
    return Throw(
        f"Pause {name}",
        [
            f"{_waiting(name)} for {name} now. From now on nothing more is handed to it.",
            "What was handed over before is carried through. Nothing is lost, and no attempt is counted.",
            f"Orders that need {name} wait. A step that is held up gets up to {patience} beyond its deadline.",
            "After that its order is turned back, or a case opens where it cannot be.",
            "An alert reminds of a pause that lasts for half an hour.",
        ],
        pause_state(None),
        act,
        {"what": forms.ChoiceField(choices=choices, widget=UnfoldAdminSelectWidget())},
        is_dangerous=True,
    )


def _resume(name: str) -> Throw:
    _require_destination(name)
    held = _pause_of(name)
    if held is None:
        raise Refused(f"{name} is not paused")

    def act(**who: str) -> None:
        switches.resume(destination=name, **who)

    return Throw(
        f"Resume {name}",
        [
            f"{held.paused_by} has paused it at {clock(held.paused_at)}: {held.reason}",
            f"{_waiting(name)} for {name}. All of it is handed on at once, each order's messages in their order.",
            "Compensations stay below their limit.",
        ],
        pause_state(held),
        act,
    )


def _require_destination(name: str) -> None:
    if name not in CONSUMERS:
        raise NoSuchSwitch(f"no destination is named {name!r}")


def _pause_of(name: str) -> Pause | None:
    return next((pause for pause in pausing.pauses() if pause.destination == name), None)


def _waiting(name: str) -> str:
    waiting = waiting_for(destination=name, most=COUNTED)
    if waiting > COUNTED:
        return f"More than {COUNTED:,} messages wait"
    return "1 message waits" if waiting == 1 else f"{waiting or 'No'} messages wait"


# --- the limit of compensations ---


def rate_state(rate: rates.Rate) -> str:
    """Return in words which limit holds."""
    return f"{rate.per_second} a second, " + (f"set by {rate.changed_by}" if rate.is_changed else "from the settings")


def _set_rate(_name: str) -> Throw:
    rate = rates.rate()

    def act(*, per_second: int, **who: str) -> None:
        switches.set_compensation_rate(per_second=per_second, seen_at=rate.changed_at, **who)

    number = forms.IntegerField(
        label="Compensations a second",
        min_value=rates.LEAST_PER_SECOND,
        max_value=rates.MOST_PER_SECOND,
        initial=rate.per_second,
        widget=UnfoldAdminIntegerFieldWidget(),
        help_text=f"{rates.LEAST_PER_SECOND} to {rates.MOST_PER_SECOND:,}. To stop them, pause their destinations.",
    )
    return Throw(
        "Change the limit of compensations",
        [
            f"All workers together send {rate.per_second} a second at most; the settings say {rate.setting}.",
            "The new limit holds for all of them at once, and until it is given back: also after a restart.",
        ],
        rate_state(rate),
        act,
        {"per_second": number},
    )


def _clear_rate(_name: str) -> Throw:
    rate = rates.rate()
    if not rate.is_changed:
        raise Refused("the limit of the settings holds already")

    def act(**who: str) -> None:
        switches.set_compensation_rate(per_second=None, seen_at=rate.changed_at, **who)

    return Throw(
        "Give the limit of compensations back to the settings",
        [
            f"{rate.changed_by} has set {rate.per_second} a second: {rate.reason}",
            f"From now on it is {rate.setting} a second again.",
        ],
        rate_state(rate),
        act,
    )


# --- breakers ---


def _breaker(name: str) -> breaker.Status:
    for status in breaker.statuses():
        if status.gateway == name:
            return status
    raise NoSuchSwitch(f"no gateway is named {name!r}")


def _open_breaker(name: str) -> Throw:
    status = _breaker(name)

    def act(**who: str) -> None:
        switches.hold_breaker_open(gateway=name, **who)

    return Throw(
        f"Hold the {name}'s breaker open",
        [
            f"It is {status.state} now. From now on nobody calls the {name}, not even to see whether it is back.",
            "What needs it waits, and no attempt is counted, until somebody closes the breaker by hand.",
        ],
        status.state,
        act,
        is_dangerous=True,
    )


def _close_breaker(name: str) -> Throw:
    status = _breaker(name)
    if status.state == "closed":
        raise Refused(f"the {name}'s breaker is closed already")

    def act(**who: str) -> None:
        switches.close_breaker(gateway=name, **who)

    return Throw(
        f"Close the {name}'s breaker",
        [
            f"It is {status.state} since {clock(status.since)}"
            + (f", held by {status.held_by}." if status.held_by else ", after failed calls in a row."),
            f"Everybody calls the {name} again at once.",
            f"If it is still away, {breaker.FAILURES_TO_OPEN} failed calls in a row open the breaker again.",
        ],
        status.state,
        act,
    )


# --- schedules ---


def _schedule(name: str) -> PeriodicTask:
    task = PeriodicTask.objects.select_related("interval").filter(pk=name if name.isdecimal() else None).first()
    if task is None:
        raise NoSuchSwitch(f"no schedule {name}")
    return task


def _turn_schedule(name: str, *, is_on: bool) -> Throw:
    task = _schedule(name)
    if task.enabled == is_on:
        raise Refused(f"{task.name} is {'on' if is_on else 'off'} already")
    state = schedules.state_of(task)

    def act(**who: str) -> None:
        schedules.turn(task_id=task.pk, is_on=is_on, seen=state, **who)

    effects = (
        [f"It runs {schedules.pace_of(task)} again. {task.description}"]
        if is_on
        else [
            f"It runs {schedules.pace_of(task)}. What it is for: {task.description}",
            "While it is off, nobody does that. It stays off until somebody turns it on again: also after a restart.",
        ]
    )
    return Throw(f"Turn {'on' if is_on else 'off'}: {task.name}", effects, state, act, is_dangerous=not is_on)


def _change_schedule(name: str) -> Throw:
    task = _schedule(name)
    seconds = schedules.seconds_of(task)
    if seconds is None:
        raise Refused(f"{task.name} does not run by an interval")
    state = schedules.state_of(task)

    def act(*, seconds: int, **who: str) -> None:
        schedules.change_pace(task_id=task.pk, seconds=seconds, seen=state, **who)

    number = forms.IntegerField(
        label="Every so many seconds",
        min_value=schedules.LEAST_SECONDS,
        max_value=schedules.MOST_SECONDS,
        initial=seconds,
        widget=UnfoldAdminIntegerFieldWidget(),
        help_text=f"{schedules.LEAST_SECONDS} to {schedules.MOST_SECONDS:,}: a day.",
    )
    effects = [f"It runs {schedules.pace_of(task)}. What it is for: {task.description}"]
    return Throw(f"Change how often: {task.name}", effects, state, act, {"seconds": number})


_THROWS: dict[tuple[str, str], Callable[[str], Throw]] = {
    ("destination", "pause"): _pause,
    ("destination", "resume"): _resume,
    ("rate", "set"): _set_rate,
    ("rate", "clear"): _clear_rate,
    ("breaker", "open"): _open_breaker,
    ("breaker", "close"): _close_breaker,
    ("schedule", "on"): lambda name: _turn_schedule(name, is_on=True),
    ("schedule", "off"): lambda name: _turn_schedule(name, is_on=False),
    ("schedule", "change"): _change_schedule,
}
