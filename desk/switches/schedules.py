"""Turn a schedule of beat off and on, or change how often it runs; beat follows within a second."""

from __future__ import annotations

from django.db import transaction
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from sagas import operator_log
from sagas.engine import Refused
from sagas.switches import SwitchedMeanwhile
from sagas.wanted import ReasonMissing

# Beat looks once a second; what runs less than once a day is better turned off.
LEAST_SECONDS, MOST_SECONDS = 1, 86_400
_UNITS = {"days": 86_400, "hours": 3_600, "minutes": 60, "seconds": 1, "microseconds": 1e-6}


def pace_of(task: PeriodicTask) -> str:
    """Return in words how often it runs."""
    return str(task.scheduler)


def seconds_of(task: PeriodicTask) -> int | None:
    """Return every how many seconds it runs; None when that is no number of seconds."""
    if task.interval is None or task.interval.period == "microseconds":
        return None
    return int(task.interval.every * _UNITS[task.interval.period])


def state_of(task: PeriodicTask) -> str:
    """Return what a page shows of it, to be compared with what it is when the page comes back."""
    return f"{'on' if task.enabled else 'off'}, {pace_of(task)}"


def turn(*, task_id: int, is_on: bool, operator: str, origin: str, reason: str, seen: str) -> None:
    """Turn it on or off. Raises `SwitchedMeanwhile`, `ReasonMissing`."""
    with transaction.atomic():
        task = _locked(task_id, reason, seen)
        before = state_of(task)
        task.enabled = is_on
        task.save()
        _note("turn on schedule" if is_on else "turn off schedule", task, before, operator, origin, reason)


def change_pace(*, task_id: int, seconds: int, operator: str, origin: str, reason: str, seen: str) -> None:
    """Let it run every so many seconds. Raises `Refused`, `SwitchedMeanwhile`, `ReasonMissing`."""
    if not LEAST_SECONDS <= seconds <= MOST_SECONDS:
        raise Refused(f"{seconds} seconds are out of bounds: {LEAST_SECONDS} to {MOST_SECONDS}")
    with transaction.atomic():
        task = _locked(task_id, reason, seen)
        if seconds_of(task) is None:
            raise Refused(f"{task.name} does not run by an interval")
        before = state_of(task)
        task.interval, _ = IntervalSchedule.objects.get_or_create(every=seconds, period=IntervalSchedule.SECONDS)
        task.save()
        _note("change schedule", task, before, operator, origin, reason)


def _locked(task_id: int, reason: str, seen: str) -> PeriodicTask:
    if not reason.strip():
        raise ReasonMissing("give a reason: the next person will read it")
    task = PeriodicTask.objects.select_for_update(of=("self",)).select_related("interval").get(pk=task_id)
    if state_of(task) != seen:
        raise SwitchedMeanwhile(f"{task.name} has changed since you looked: it is {state_of(task)} now")
    return task


def _note(action: str, task: PeriodicTask, before: str, operator: str, origin: str, reason: str) -> None:
    seen = {"about": task.name, "task": task.task, "before": before, "after": state_of(task)}
    operator_log.write(operator=operator, origin=origin, action=action, reason=reason, seen=seen, result="done")
