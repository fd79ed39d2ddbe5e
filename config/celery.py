"""The Celery app. Its messages only ring: what is due, how often it was tried and when it is next, are rows."""

from __future__ import annotations

import os
from typing import Any

import structlog
from celery import Celery, bootsteps
from celery.contrib.django.task import DjangoTask

from outbox.transactions import is_passing, rerun_on_conflict

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

log = structlog.get_logger(__name__)


class Run(DjangoTask):  # type: ignore[type-arg]  # generic for the type checker only
    """One run of a task. All of ours look what is due, so what one run could not do is left to the next.

    A lost deadlock is repeated; a database that is away is a line in the log, and not the same trace every second.
    """

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """Run it. Raises what is a bug."""
        try:
            return rerun_on_conflict(super().__call__)(*arguments, **options)
        except Exception as error:
            if not is_passing(error):
                raise
            log.warning("task.database.away", task=self.name, error=str(error).strip().splitlines()[0])


app = Celery("saga-bridge", task_cls=Run)
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


class Distrust(bootsteps.Step):
    """Refuse to start a worker in production as a role that could rewrite history."""

    def __init__(self, worker: Any, **options: Any) -> None:
        super().__init__(worker, **options)
        # Settings and apps are read only now, so the check cannot be imported with this module.
        from config.trust import require_distrust

        require_distrust()


app.steps["worker"].add(Distrust)
