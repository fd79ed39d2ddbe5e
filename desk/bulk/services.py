"""What a person does with a bulk run: freeze a set, start, go on, stop, resume. The rows are done by `worker`.

Each is one transaction, with one line in the operator log. A stop takes effect before it answers: it waits for the
row that is being done, a matter of milliseconds, and no row is done after it.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import timedelta

from django.contrib.auth import get_user_model
from django.db import connection, transaction
from django.db.models import Count, Exists, OuterRef, QuerySet
from django.db.models.functions import Now

from desk.actions import ACTIONS
from desk.bulk.models import LIVE, BulkRow, BulkRun
from desk.bulk.prospects import Prospect, held_by, holders, prospects
from desk.groups import group_of
from outbox import doorbell
from outbox.transactions import on_commit, rerun_on_conflict
from sagas import operator_log
from sagas.engine import Refused
from sagas.models import Case

TASK = "desk.tasks.work_on_bulk_runs"
PERMISSION = "desk.run_bulk"
# At 5 a second this takes a quarter of an hour: nobody oversees more, and a preview of more takes many seconds.
MOST_CASES = 5_000
# The least is one a second, so that a stopped or finished run is never far away.
MOST_PER_SECOND = 50
# So many without one success between them: what the first one proved holds no longer.
FAILURES_IN_A_ROW = 5
# A set that nobody has started by then shows a state that is long over.
PREVIEW_LIFE = timedelta(days=1)
# Who takes cases for a run takes turns: two starts with a case in common must not miss each other.
_HOLDING = 0x6B01D


class MayNot(Refused):
    """This takes a permission that the person does not have, or no longer has."""


class NothingChosen(Refused):
    """A run needs at least one case, and at least one that can be acted on."""


class WrongPhase(Refused):
    """The run is not where the person saw it."""


def freeze(*, case_ids: Sequence[int], action: str, operator: str, origin: str = "", source: str = "") -> BulkRun:
    """Write down which cases are to be acted on, as they are now, and what would come of it. Changes none of them.

    The order is that of the numbers given, but that those that need a second person come last. Raises `Refused`.
    """
    require_permission(operator=operator, action=action)
    chosen = list(dict.fromkeys(case_ids))
    if not chosen:
        raise NothingChosen("choose at least one case")
    if len(chosen) > MOST_CASES:
        raise Refused(f"{len(chosen)} cases are too many for one run: choose at most {MOST_CASES}")
    found = sorted(prospects(case_ids=chosen, action=action), key=lambda each: each.needs_approval)
    with transaction.atomic():
        _forget_previews()
        run = BulkRun.objects.create(
            action=action, source=source, size=len(found), operator=operator, origin=origin, requested_by=operator
        )
        BulkRow.objects.bulk_create((_row(run, number, each) for number, each in enumerate(found, 1)), batch_size=500)
    return run


def open_cases_of(*, fingerprint: str) -> list[int]:
    """Return the cases that are open for one reason at this moment, the most urgent first."""
    opened = Case.objects.filter(fingerprint=fingerprint, status=Case.Status.OPEN).order_by("due_at", "pk")
    # One more than may be: a set that was cut off would pass for the whole group.
    return list(opened.values_list("pk", flat=True)[: MOST_CASES + 1])


@rerun_on_conflict
def start(
    *,
    run_id: int,
    operator: str,
    origin: str = "",
    reason: str,
    reference: str = "",
    per_second: int = 5,
    goes_on: bool = False,
) -> None:
    """Let the first case be tried, and with `goes_on` the others too, once it has succeeded. Raises `Refused`."""
    if not reason.strip():
        raise Refused("give a reason: the next person will read it")
    if not 1 <= per_second <= MOST_PER_SECOND:
        raise Refused(f"do between 1 and {MOST_PER_SECOND} cases a second")
    with transaction.atomic():
        run = _lock(run_id, [BulkRun.Phase.PREVIEW])
        require_permission(operator=operator, action=run.action)
        if ACTIONS[run.action].needs_reference and not reference.strip():
            raise Refused("say under which reference it was done by hand")
        run.reason, run.reference, run.per_second, run.goes_on = reason, reference, per_second, goes_on
        run.started_by, run.started_at = operator, Now()
        _begin(run, operator, origin, BulkRun.Phase.CANARY, "start")


@rerun_on_conflict
def go_on(*, run_id: int, operator: str, origin: str = "") -> None:
    """Let the others follow the first one, whose result the person has seen. Raises `Refused`."""
    with transaction.atomic():
        run = _lock(run_id, [BulkRun.Phase.WAITING])
        require_permission(operator=operator, action=run.action)
        _begin(run, operator, origin, BulkRun.Phase.RUNNING, "go on")


@rerun_on_conflict
def resume(*, run_id: int, operator: str, origin: str = "") -> None:
    """Go on with the rows that a stop has left, in this person's name. Raises `Refused`.

    One row is tried first again, unless the first one of this run has succeeded and the last ones have not all failed.
    """
    with transaction.atomic():
        run = _lock(run_id, [BulkRun.Phase.STOPPED])
        require_permission(operator=operator, action=run.action)
        first = run.rows.filter(position=run.canary_position or 0, status=BulkRow.Status.DONE)
        if first.exists() and not is_failing(run):
            phase = BulkRun.Phase.RUNNING
        else:
            phase, run.canary_position = BulkRun.Phase.CANARY, None
        _begin(run, operator, origin, phase, "resume")


@rerun_on_conflict
def stop(*, run_id: int, operator: str, origin: str = "") -> None:
    """Do no further row; what was requested stays requested. In effect when it returns. Raises `Refused`.

    Stopping takes the permission to run, but not that of the action: nobody has to look on.
    """
    with transaction.atomic():
        run = _lock(run_id, LIVE)
        _require(operator, PERMISSION)
        halt(run, stopped_by=operator, origin=origin, note=f"{operator} has stopped it.")


def is_failing(run: BulkRun) -> bool:
    """Tell whether the last rows whose result is known have all failed again."""
    known = run.rows.filter(status__in=(BulkRow.Status.DONE, BulkRow.Status.FAILED_AGAIN)).order_by("-position")
    last = list(known.values_list("status", flat=True)[:FAILURES_IN_A_ROW])
    return last == [BulkRow.Status.FAILED_AGAIN] * FAILURES_IN_A_ROW


def halt(run: BulkRun, *, stopped_by: str, origin: str, note: str) -> None:
    """Stop a locked run, by a person or, with nobody's name, by itself. The caller's transaction."""
    run.rows.filter(is_held=True).update(is_held=False)
    run.phase, run.note = BulkRun.Phase.STOPPED, note
    run.stopped_by, run.stopped_at = stopped_by, Now()
    run.save()
    what = "stop" if stopped_by else "stopped by itself"
    write_line(run, what, operator=stopped_by or run.operator, origin=origin, reason=note)


def write_line(run: BulkRun, what: str, *, operator: str, origin: str, reason: str) -> None:
    """Write what was done with a run as a whole into the operator log. The caller's transaction."""
    operator_log.write(
        operator=operator,
        origin=origin,
        action=f"bulk {run.action}: {what}",
        reason=reason,
        reference=f"bulk run {run.pk}",
        seen={"bulk_run": run.pk, "cases": run.size, "outcomes": outcomes(run)},
        result="done",
    )


def outcomes(run: BulkRun) -> dict[str, int]:
    """Return how many rows of a run have come to each outcome, those of none left out."""
    return dict(run.rows.order_by().values_list("status").annotate(many=Count("pk")))


def require_permission(*, operator: str, action: str) -> None:
    """Raise `MayNot` unless this person may act on many cases, and do this with each, now; `Refused` if nobody can."""
    if action not in ACTIONS:
        raise Refused(f"there is no bulk action {action!r}; there are: {', '.join(ACTIONS)}")
    _require(operator, PERMISSION, ACTIONS[action].permission)


def _require(operator: str, *permissions: str) -> None:
    # Read anew, and not from the request or the run: what counts is what he may do now.
    user = get_user_model().objects.filter(username=operator, is_active=True, is_staff=True).first()
    missing = [each for each in permissions if user is None or not user.has_perm(each)]
    if missing:
        raise MayNot(f"{operator} may not do this: it takes the permission {' and '.join(missing)}")


def _lock(run_id: int, phases: Collection[str]) -> BulkRun:
    run = BulkRun.objects.select_for_update(no_key=True).filter(pk=run_id).first()
    if run is None:
        raise WrongPhase(f"there is no bulk run {run_id}")
    if run.phase not in phases:
        raise WrongPhase(f"bulk run {run_id} is {run.get_phase_display()} by now; look again")
    return run


def _begin(run: BulkRun, operator: str, origin: str, phase: BulkRun.Phase, what: str) -> None:
    _hold(run)
    run.phase, run.note = phase, ""
    run.operator, run.origin = operator, origin
    run.due_at = Now()
    run.save()
    write_line(run, what, operator=operator, origin=origin, reason=run.reason)
    on_commit(lambda: doorbell.call(TASK), "default")


def _hold(run: BulkRun) -> None:
    """Take the cases that this run has yet to come to, and refuse those that another live run has."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_HOLDING])
    waiting: QuerySet[BulkRow] = run.rows.filter(status=BulkRow.Status.WAITING)
    others = BulkRow.objects.filter(case_id=OuterRef("case_id"), is_held=True).exclude(run=run)
    taken = list(waiting.filter(Exists(others)))
    held = holders([row.case_id for row in taken])
    for row in taken:
        row.status, row.result = BulkRow.Status.REFUSED, held_by(held[row.case_id])
        row.at = Now()
    BulkRow.objects.bulk_update(taken, ["status", "result", "at"], batch_size=500)
    if not waiting.update(is_held=True):
        raise NothingChosen("no case of this set is left that can be acted on")


def _forget_previews() -> None:
    old = BulkRun.objects.filter(phase=BulkRun.Phase.PREVIEW, requested_at__lt=Now() - PREVIEW_LIFE)
    # What another one is starting at this moment is not to be waited for.
    BulkRun.objects.filter(pk__in=list(old.select_for_update(skip_locked=True).values_list("pk", flat=True))).delete()


def _row(run: BulkRun, number: int, prospect: Prospect) -> BulkRow:
    case = prospect.case
    row = BulkRow(run=run, position=number, case_id=prospect.case_id, calls=prospect.calls)
    row.needs_approval, row.seen_at = prospect.needs_approval, prospect.seen_at
    if case is not None:
        row.key, row.fingerprint, row.group = case.key, case.fingerprint, group_of(case).title
        row.step = f"{case.step} ({case.direction})" if case.step else f"message for {case.destination}"
        row.amount, row.currency = case.amount, case.currency
    if prospect.obstacle:
        row.status, row.result = BulkRow.Status.REFUSED, prospect.obstacle
        row.at = Now()
    return row
