"""Bulk runs and the people who start them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from django.contrib.auth.models import Permission, User
from django.db.models import F

from desk.bulk import services, worker
from desk.bulk.models import BulkRow, BulkRun
from sagas.models import Case

ALL = ("retry_case", "skip_case", "resolve_case", "abandon_case", "approve_case")
WHY = "the bank is back"


def bulk_operator(name: str = "grace", *actions: str) -> User:
    """Make a person who may run these actions on many cases, all of them if none is named."""
    user = User.objects.create(username=name, is_staff=True)
    wanted = [f"{action}_case" for action in actions] or ALL
    codes = ["view_bulkrun", "run_bulk", "view_case", *wanted]
    user.user_permissions.set(Permission.objects.filter(codename__in=codes))
    return user


def frozen(cases: Sequence[Case], *, action: str = "retry", operator: str = "grace") -> BulkRun:
    """Freeze these cases."""
    return services.freeze(case_ids=[case.pk for case in cases], action=action, operator=operator, origin="10.0.0.1")


def started(cases: Sequence[Case], *, action: str = "retry", operator: str = "grace", goes_on: bool = False) -> BulkRun:
    """Freeze these cases and start, at the highest speed."""
    run = frozen(cases, action=action, operator=operator)
    services.start(run_id=run.pk, operator=operator, origin="10.0.0.1", reason=WHY, per_second=50, goes_on=goes_on)
    run.refresh_from_db()
    return run


def running(cases: Sequence[Case], *, operator: str = "grace") -> BulkRun:
    """Start a retry of these cases whose first one needs no waiting for."""
    run = started(cases, operator=operator)
    BulkRun.objects.filter(pk=run.pk).update(phase=BulkRun.Phase.RUNNING)
    run.refresh_from_db()
    return run


def work_off() -> None:
    """Let the worker do all that can be done now, as if its pauses were over."""
    while BulkRun.objects.exists():
        BulkRun.objects.update(due_at=F("due_at") - timedelta(hours=1))
        if not worker.step():
            return
        if BulkRun.objects.filter(phase=BulkRun.Phase.CANARY, canary_position__isnull=False).exists():
            worker.step()
            return


def look_now() -> int:
    """Let the worker look what became of all that was requested."""
    BulkRow.objects.update(look_at=F("look_at") - timedelta(hours=1))
    return worker.follow()


def rows_of(run: BulkRun) -> list[tuple[int, str]]:
    """Return the outcome of each case of a run, in their order."""
    return list(run.rows.order_by("position").values_list("case_id", "status"))


def state_of(run: BulkRun) -> tuple[str, str]:
    """Return where a run stands, and what it says about that."""
    run.refresh_from_db()
    return run.phase, run.note
