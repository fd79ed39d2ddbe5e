"""Who does the rows of bulk runs: a look every second, or as soon as somebody rings, for less than a second.

All that is to be done is rows. One look takes a run whose next row is due, does that row and writes down what came of
it, in one transaction: killed at any moment, a row is done once or not at all, and the next look goes on from there.
Others who look at the same time pass over a run that is being worked on.
"""

from __future__ import annotations

import time
from datetime import timedelta

import structlog
from django.db import transaction
from django.db.models import F, Min
from django.db.models.functions import Greatest, Least, Now

from desk import actions
from desk.bulk import metrics, services
from desk.bulk.models import AT_WORK, UNSETTLED, BulkRow, BulkRun
from outbox.transactions import is_passing, rerun_on_conflict
from sagas import four_eyes, operator_log, pursuit
from sagas.engine import Refused
from sagas.instances import UnknownDefinition
from sagas.models import Case, OperatorAction

log = structlog.get_logger(__name__)

# Shorter than the pause between two looks: other sweeps share the queue, and have their turn.
SHIFT_SECONDS = 0.9
# How long the first row may take until a person decides without its result. A bank that is away, or a command between
# two attempts, is not a matter of seconds.
CANARY_PATIENCE = timedelta(minutes=2)
CANARY_LOOK = timedelta(seconds=0.5)
# Rows whose outcome is looked up in one go.
FOLLOWED_AT_ONCE = 500
# When to look again what became of a row: the longer it takes, the less often, but always while somebody looks on.
SOONEST_LOOK = timedelta(seconds=1)
LATEST_LOOK = timedelta(seconds=10)
_LEAST_PAUSE_SECONDS = 0.01


def work(*, seconds: float = SHIFT_SECONDS) -> int:
    """Look what became of what was requested, then do rows that are due. Returns how many steps were taken.

    Safe to run in any number of processes at once.
    """
    follow()
    steps = 0
    end = time.monotonic() + seconds
    while (pause := _seconds_until_due()) < end - time.monotonic():
        time.sleep(pause)
        if step():
            steps += 1
        else:
            # Somebody else is at the run that is due.
            time.sleep(_LEAST_PAUSE_SECONDS)
    return steps


@rerun_on_conflict
def step() -> bool:
    """Do the next thing for the run that has been due longest. Returns False when no run is due."""
    with transaction.atomic():
        due = BulkRun.objects.filter(phase__in=AT_WORK, due_at__lte=Now()).order_by("due_at")
        run = due.select_for_update(skip_locked=True, no_key=True).first()
        if run is None:
            return False
        try:
            services.require_permission(operator=run.operator, action=run.action)
        except Refused as lost:
            services.halt(run, stopped_by="", origin=run.origin, note=f"It has stopped by itself: {lost}.")
            return True
        if run.phase == BulkRun.Phase.CANARY and run.canary_position is not None:
            _judge(run, run.canary_position)
        elif run.phase == BulkRun.Phase.RUNNING and services.is_failing(run):
            many = services.FAILURES_IN_A_ROW
            note = f"It has stopped by itself: the last {many} whose result is known have failed again."
            services.halt(run, stopped_by="", origin=run.origin, note=note)
        else:
            _do_next(run)
    return True


@rerun_on_conflict
def follow(*, limit: int = FOLLOWED_AT_ONCE) -> int:
    """Look what became of rows that were requested or await approval. Returns how many have come to an end."""
    unsettled = BulkRow.objects.filter(status__in=UNSETTLED, look_at__lte=Now()).order_by("look_at")
    if not unsettled.exists():
        # As nearly always: then not even a transaction is begun.
        return 0
    with transaction.atomic():
        rows = list(unsettled.select_for_update(skip_locked=True, of=("self",)).select_related("run")[:limit])
        settled = _learn(rows)
        age = Now() - F("at")
        BulkRow.objects.filter(pk__in=[row.pk for row in rows]).update(
            look_at=Now() + Least(Greatest(age / 10, SOONEST_LOOK), LATEST_LOOK)
        )
    return settled


def _learn(rows: list[BulkRow]) -> int:
    """Write down what has become of these rows. Returns how many have come to an end."""
    lines = OperatorAction.objects.filter(pk__in=[row.action_id for row in rows])
    known = pursuit.outcome_of(list(lines))
    changed = []
    for row in rows:
        outcome = known.get(row.action_id or 0)
        status = _STATUS_OF.get(outcome.status) if outcome else None
        if outcome is not None and status is not None and status != row.status:
            row.status, row.result, row.next_case_id = status, str(outcome), outcome.case_id
            changed.append(row)
    BulkRow.objects.bulk_update(changed, ["status", "result", "next_case_id"])
    for row in changed:
        _count(row)
    return sum(row.status not in UNSETTLED for row in changed)


def _do_next(run: BulkRun) -> None:
    waiting = run.rows.filter(status=BulkRow.Status.WAITING, is_held=True).order_by("position")
    row = waiting.select_for_update(skip_locked=True).first()
    if row is None:
        _end(run)
        return
    note = _carry_out(run, row)
    row.is_held = False
    row.at = row.look_at = Now()
    row.save()
    _count(row)
    if note:
        services.halt(run, stopped_by="", origin=run.origin, note=note)
        return
    if row.status == BulkRow.Status.REFUSED:
        # Nothing was called, so nothing has to be spared.
        run.due_at = Now()
    elif run.phase == BulkRun.Phase.CANARY:
        run.canary_position, run.due_at = row.position, Now()
    else:
        # What a late worker owes of the last second it may make up for.
        run.due_at = Greatest(F("due_at"), Now() - timedelta(seconds=1)) + timedelta(seconds=1 / run.per_second)
    run.save(update_fields=["canary_position", "due_at"])


def _carry_out(run: BulkRun, row: BulkRow) -> str:
    """Act on one case and note what came of it. Returns why the whole run has to stop, if it has to."""
    case = Case.objects.select_related("saga").filter(pk=row.case_id).first()
    if case is None or case.status != Case.Status.OPEN:
        ended = f"closed meanwhile: {case.get_resolution_display().lower()}" if case else "there is no such case"
        _refuse(run, row, case, ended)
        return ""
    try:
        with transaction.atomic():
            result = actions.carry_out(
                case=case,
                action=run.action,
                operator=run.operator,
                origin=run.origin,
                reason=run.reason,
                reference=run.reference,
                seen_at=row.seen_at,
            )
    except (Refused, UnknownDefinition) as refusal:
        _refuse(run, row, case, str(refusal))
        return ""
    except Exception as error:
        if is_passing(error):
            raise
        # A mistake of ours would be made with every row.
        log.exception("desk.bulk.row_failed", run=run.pk, case=row.case_id)
        _refuse(run, row, case, f"it could not be done: {type(error).__name__}: {error}")
        return f"It has stopped by itself, since case {row.case_id} could not be done: {type(error).__name__}."
    row.status, row.result = _STATUS_OF[result], result
    mine = OperatorAction.objects.filter(operator=run.operator)
    # The case or the saga is locked since the line was written: nobody else's can be newer.
    about = mine.filter(saga_id=case.saga_id) if case.saga_id else mine.filter(case_id=case.pk)
    row.action_id = about.latest("pk").pk
    return ""


def _refuse(run: BulkRun, row: BulkRow, case: Case | None, why: str) -> None:
    row.status, row.result = BulkRow.Status.REFUSED, why
    line = operator_log.write(
        operator=run.operator,
        origin=run.origin,
        action=run.action,
        key=row.key,
        saga_id=case.saga_id if case else None,
        case_id=row.case_id,
        reason=run.reason,
        reference=run.reference,
        seen={"bulk_run": run.pk, "case": case.status if case else None},
        result=f"refused: {why}",
    )
    row.action_id = line.pk


def _judge(run: BulkRun, position: int) -> None:
    """Look what became of the first row, and decide whether the others follow."""
    same = run.rows.filter(position=position)
    row = same.select_related("run").select_for_update(of=("self",)).get()
    if row.status in UNSETTLED:
        _learn([row])
    is_last = not run.rows.filter(status=BulkRow.Status.WAITING).exists()
    if row.status == BulkRow.Status.FAILED_AGAIN:
        note = f"It has stopped by itself: the first one, case {row.case_id}, has failed again."
        services.halt(run, stopped_by="", origin=run.origin, note=note)
    elif row.status == BulkRow.Status.DONE:
        if is_last:
            _end(run)
        elif run.goes_on:
            _turn(run, BulkRun.Phase.RUNNING, "")
        else:
            _turn(run, BulkRun.Phase.WAITING, f"The first one, case {row.case_id}, is done. Go on with the others?")
    elif row.status == BulkRow.Status.REQUESTED and same.filter(at__gt=Now() - CANARY_PATIENCE).exists():
        BulkRun.objects.filter(pk=run.pk).update(due_at=Now() + CANARY_LOOK)
    elif is_last:
        _end(run)
    else:
        _turn(run, BulkRun.Phase.WAITING, _UNDECIDED[BulkRow.Status(row.status)].format(case=row.case_id))


def _turn(run: BulkRun, phase: BulkRun.Phase, note: str) -> None:
    run.phase, run.note, run.due_at = phase, note, Now()
    run.save(update_fields=["phase", "note", "due_at"])


def _end(run: BulkRun) -> None:
    run.phase, run.note, run.ended_at = BulkRun.Phase.DONE, "", Now()
    run.save(update_fields=["phase", "note", "ended_at"])
    services.write_line(run, "end", operator=run.operator, origin=run.origin, reason=run.reason)


def _count(row: BulkRow) -> None:
    counter = metrics.ROWS.labels(row.run.action, row.status.lower())
    # A transaction that is undone and repeated must not count twice.
    transaction.on_commit(counter.inc)


def _seconds_until_due() -> float:
    """Return how long until a row of any run is due; for ever when none is at work."""
    soonest: timedelta | None = BulkRun.objects.filter(phase__in=AT_WORK).aggregate(wait=Min(F("due_at") - Now()))[
        "wait"
    ]
    return float("inf") if soonest is None else max(_LEAST_PAUSE_SECONDS, soonest.total_seconds())


_STATUS_OF = {
    pursuit.DONE: BulkRow.Status.DONE,
    pursuit.REQUESTED: BulkRow.Status.REQUESTED,
    pursuit.FAILED_AGAIN: BulkRow.Status.FAILED_AGAIN,
    pursuit.OVERTAKEN: BulkRow.Status.OVERTAKEN,
    pursuit.REFUSED: BulkRow.Status.REFUSED,
    four_eyes.AWAITS_APPROVAL: BulkRow.Status.AWAITS_APPROVAL,
}
# What a person is told when the first row says neither yes nor no.
_UNDECIDED = {
    BulkRow.Status.REQUESTED: (
        f"The first one, case {{case}}, has had no result for {CANARY_PATIENCE.seconds // 60} minutes. "
        "Look at it, then go on or stop."
    ),
    BulkRow.Status.AWAITS_APPROVAL: (
        "The first one, case {case}, awaits the approval of a second person, as all others do: nothing has been tried "
        "yet. Go on to ask for the others too?"
    ),
    BulkRow.Status.REFUSED: "The first one, case {case}, was declined. Look why, then go on or stop.",
    BulkRow.Status.OVERTAKEN: "The first one, case {case}, was overtaken: its saga was abandoned. Go on or stop.",
}
