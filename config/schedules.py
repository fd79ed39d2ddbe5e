"""What beat runs, and how often. A migration writes these rows once; operators change them in admin afterwards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Schedule:
    """One periodic task; `every` in seconds. A run that has waited longer than `expires` is dropped."""

    name: str
    task: str
    every: int
    expires: int
    why: str
    args: str = "[]"
    queue: str = "sweeps"


# The safety net behind the doorbell: a look at every lane, on its own queue, that does not linger.
_RINGS = tuple(
    Schedule(f"Ring {lane}", "outbox.tasks.relay", 1, 2, f"Look what is due for {lane}.", f'["{lane}", 0]', lane)
    for lane in ("relay", "effects", "compensations")
)

SCHEDULES = (
    *_RINGS,
    Schedule("Sweep deadlines", "sagas.tasks.sweep_deadlines", 5, 30, "A missed deadline becomes a decision."),
    Schedule("Remind of overdue cases", "sagas.tasks.remind_overdue_cases", 60, 60, "No case is forgotten."),
    Schedule(
        "Lapse requests", "sagas.tasks.lapse_requests", 30, 30, "What nobody approved in time is over, and is told."
    ),
    Schedule("Measure the outbox", "outbox.tasks.measure", 5, 5, "Gauges, so that a scrape touches no hot table."),
    Schedule("Measure the sagas", "sagas.tasks.measure", 10, 10, "Gauges of live sagas and open cases."),
    Schedule("Measure the desk", "desk.tasks.measure", 30, 30, "The desk reads a view, and no hot table."),
    Schedule("Work on bulk runs", "desk.tasks.work_on_bulk_runs", 1, 2, "The rows of bulk runs that are due are done."),
    Schedule(
        "Prune idempotency keys",
        "outbox.tasks.prune_idempotency_keys",
        300,
        300,
        "Expired answers are forgotten.",
    ),
    Schedule(
        "Audit consistency", "config.tasks.audit", 60, 60, "What does not add up is found by us, not by customers."
    ),
    Schedule("Reconcile payments", "payments.tasks.reconcile", 30, 30, "The bank's ledger and ours tell one story."),
    Schedule("Reconcile shipping", "shipping.tasks.reconcile", 30, 30, "The carrier's ledger and ours tell one story."),
    Schedule("Prune webhooks", "payments.tasks.prune_webhooks", 3600, 3600, "Webhooks are forgotten with the log."),
    Schedule("Keep partitions", "outbox.tasks.keep_partitions", 3600, 3600, "History is dropped by the day."),
)


def install(*, interval_model: Any, task_model: Any) -> None:
    """Create the schedules that do not exist yet; what an operator has changed stays as it is."""
    for schedule in SCHEDULES:
        interval, _ = interval_model.objects.get_or_create(every=schedule.every, period="seconds")
        task_model.objects.get_or_create(
            name=schedule.name,
            defaults={
                "task": schedule.task,
                "interval": interval,
                "args": schedule.args,
                "queue": schedule.queue,
                "expire_seconds": schedule.expires,
                "description": schedule.why,
            },
        )
