"""What operators do to sagas: one function, one action, one transaction, one line in the operator log.

Each locks the saga, checks that it is still as the operator saw it, decides through the engine, and says honestly
what came of it: an effect that another process has yet to bring about is "requested", not "done", and what a second
person must approve first (see `sagas.four_eyes`) "awaits approval".
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import structlog
from django.conf import settings
from django.db import connection, transaction
from django.utils import timezone

from outbox.redrive import discard, redrive
from outbox.selectors import held_up_by_outage, last_commands
from outbox.transactions import rerun_on_conflict
from sagas import engine, four_eyes, sql
from sagas.definition import definitions
from sagas.engine import Refused
from sagas.inputs import Abandon, CancelRequested, DeadlinePassed, Input, ResolveStuck, RetryStuck, SkipStuck
from sagas.instances import CaseFile, Changes, Loaded, database_now, load
from sagas.models import Approval, Case, OperatorAction, SagaInstance
from sagas.selectors import describe
from sagas.states import LIVE, StepStatus, wire_step

log = structlog.get_logger(__name__)

CANCELLED_BY_OPERATOR = "cancelled_by_operator"


class StaleView(Refused):
    """The saga has changed since the operator looked at it; look again before you act."""


class ReasonMissing(Refused):
    """An action that a person answers for needs a reason."""


def retry(*, saga_id: UUID, operator: str, reason: str = "", seen_at: datetime | None = None) -> str:
    """Send the stuck steps of a saga again with fresh attempts. Returns what came of it. Raises `Refused`."""
    return _act(saga_id, "retry", operator, reason or "retry", "", seen_at)


def skip(*, saga_id: UUID, operator: str, reason: str, seen_at: datetime | None = None) -> str:
    """Go on without the stuck steps. Returns what came of it. Raises `Refused`."""
    return _act(saga_id, "skip", operator, reason, "", seen_at)


def resolve(*, saga_id: UUID, operator: str, reason: str, reference: str, seen_at: datetime | None = None) -> str:
    """Record that a person has done the stuck steps by hand, under an external reference. Raises `Refused`."""
    if not reference.strip():
        raise ReasonMissing("say under which reference it was done by hand")
    return _act(saga_id, "resolve", operator, reason, reference, seen_at)


def abandon(*, saga_id: UUID, operator: str, reason: str, seen_at: datetime | None = None) -> str:
    """Close the saga as it is, undone or not. Returns what came of it. Raises `Refused`."""
    return _act(saga_id, "abandon", operator, reason, "", seen_at)


def compensate(*, saga_id: UUID, operator: str, reason: str, seen_at: datetime | None = None) -> str:
    """Turn a running saga back from where it is. Raises `Refused` past the point of no return."""
    return _act(saga_id, "compensate", operator, reason, "", seen_at)


@rerun_on_conflict
def approve(*, approval_id: int, operator: str, reason: str = "") -> str:
    """Do what another person asked for, as both saw it. Returns what came of it. Raises `Refused`."""
    with transaction.atomic():
        approval = four_eyes.take(approval_id=approval_id, operator=operator)
        result = _carry_out(approval, operator)
        four_eyes.settle(approval, status=Approval.Status.CARRIED_OUT, operator=operator)
        _log_decision(approval, "approve", operator, reason or "approved", result)
    return result


@rerun_on_conflict
def decline(*, approval_id: int, operator: str, reason: str = "") -> None:
    """Refuse what another person asked for, or take back one's own request. Raises `Refused`."""
    with transaction.atomic():
        approval = four_eyes.take(approval_id=approval_id, operator=operator, is_approval=False)
        four_eyes.settle(approval, status=Approval.Status.DECLINED, operator=operator)
        _log_decision(approval, "decline", operator, reason or "declined", "done")


def close_message_case(*, case_id: int, operator: str, action: str, reason: str, reference: str = "") -> str:
    """Settle a case outside any saga: `retry` sends its message again, anything else discards the dead delivery.

    Returns what came of it. Raises `Refused`.
    """
    return _close_message_case(case_id, operator, action, reason, reference)


@rerun_on_conflict
def _close_message_case(
    case_id: int, operator: str, action: str, reason: str, reference: str, approved_by: str = ""
) -> str:
    _require(reason)
    with transaction.atomic():
        case = Case.objects.select_for_update().get(pk=case_id)
        if case.status != Case.Status.OPEN:
            raise Refused(f"case {case_id} is closed already: {case.resolution}")
        if case.message_id is None or case.saga_id is not None:
            raise Refused(f"case {case_id} belongs to a saga; act on the saga")
        if not approved_by and four_eyes.is_needed(action=action, data={}):
            approval = four_eyes.ask(about=case, action=action, operator=operator, reason=reason, reference=reference)
            _log_decision(approval, "request", operator, reason, four_eyes.AWAITS_APPROVAL)
            return four_eyes.AWAITS_APPROVAL
        if action == "retry":
            if case.message_id not in redrive(message_ids=[case.message_id], destination=case.destination):
                raise Refused("its delivery is gone; there is nothing to send again")
            result, resolution = "requested", Case.Resolution.RETRIED
        else:
            discard(message_ids=[case.message_id], destination=case.destination)
            result = "done"
            resolution = Case.Resolution.RESOLVED if action == "resolve" else Case.Resolution.ABANDONED
        _close([case], resolution, reason, reference)
        OperatorAction.objects.create(
            operator=operator,
            action=action,
            key=case.key,
            case_id=case.pk,
            reason=reason,
            reference=reference,
            seen={"case": case.pk, "error": case.error},
            result=result,
            approved_by=approved_by,
        )
    return result


@rerun_on_conflict
def sweep_deadlines(*, limit: int = 500) -> int:
    """Turn missed deadlines into decisions: turn back, or ask a person. Returns how many sagas were overdue.

    A step that waits for the end of an outage gets more time instead, for at most `OUTAGE_PATIENCE_SECONDS`.
    """
    patience = timedelta(seconds=settings.OUTAGE_PATIENCE_SECONDS)
    with transaction.atomic():
        ids = _overdue(limit)
        changes = Changes(database_now())
        overdue = list(load(ids).values())
        excused = _held_up(overdue, changes.now)
        stuck: list[tuple[Loaded, str]] = []
        for loaded in overdue:
            passed = DeadlinePassed(excused.get(loaded.instance.id, frozenset()), patience)
            decision = engine.decide(loaded.definition, loaded.instance, passed, changes.now)
            changes.apply(loaded, decision, cause=None)
            if decision.ignored:
                # A release has given its steps more time.
                changes.look_again(loaded)
            stuck += [(loaded, name) for name in decision.stuck]
        changes.cases += _deadline_cases(stuck)
        changes.write()
    if ids:
        log.warning("sagas.deadlines.missed", sagas=len(ids), held_up=sum(map(bool, excused.values())))
    return len(ids)


def _held_up(overdue: Sequence[Loaded], now: datetime) -> dict[UUID, frozenset[str]]:
    """Return the late steps of each saga whose command waits for the end of an outage, or is being called right now.

    A call in flight is about to say which: turning back under it would blame the step for the outage that it is just
    about to find.
    """
    late = {one.instance.id: engine.late_steps(one.definition, one.instance, now) for one in overdue}
    keys = [one.instance.key for one in overdue if late[one.instance.id]]
    held_up = held_up_by_outage(ordering_keys=keys) if keys else set()
    if not held_up:
        return {}
    commands = last_commands(ordering_keys=keys)
    found = {}
    for one in overdue:
        steps = one.instance.steps
        wires = {name: (wire_step(name, steps[name]), steps[name].direction) for name in late[one.instance.id]}
        sent = {name: commands.get((one.instance.id, *wire)) for name, wire in wires.items()}
        found[one.instance.id] = frozenset(name for name, message_id in sent.items() if message_id in held_up)
    return found


_WISHES: dict[str, tuple[Input, str]] = {
    "retry": (RetryStuck(), Case.Resolution.RETRIED),
    "skip": (SkipStuck(), Case.Resolution.SKIPPED),
    "resolve": (ResolveStuck(), Case.Resolution.RESOLVED),
    "abandon": (Abandon(), Case.Resolution.ABANDONED),
    "compensate": (CancelRequested(CANCELLED_BY_OPERATOR), ""),
}


def _carry_out(approval: Approval, operator: str) -> str:
    asked = approval.requested_by, approval.action, approval.reason, approval.reference
    if approval.saga_id is None:
        assert approval.case_id is not None  # noqa: S101 - it is of one or the other
        return _close_message_case(approval.case_id, *asked, approved_by=operator)
    asker, action, reason, reference = asked
    return _act(approval.saga_id, action, asker, reason, reference, approval.seen_at, approved_by=operator)


@rerun_on_conflict
def _act(
    saga_id: UUID,
    action: str,
    operator: str,
    reason: str,
    reference: str,
    seen_at: datetime | None,
    approved_by: str = "",
) -> str:
    _require(reason)
    with transaction.atomic():
        row = SagaInstance.objects.select_for_update(no_key=True).get(pk=saga_id)
        if seen_at is not None and row.updated_at != seen_at:
            raise StaleView(f"the saga has changed since you looked: it is {row.status} now; look again")
        if approved_by or not four_eyes.is_needed(action=action, data=row.data):
            result = _do(row, action, operator, reason, reference, approved_by)
        else:
            with transaction.atomic():
                # What cannot be done need not be approved: it is tried, and taken back.
                _do(row, action, operator, reason, reference, approved_by)
                transaction.set_rollback(True)
            approval = four_eyes.ask(about=row, action=action, operator=operator, reason=reason, reference=reference)
            result = four_eyes.AWAITS_APPROVAL
            _log_decision(approval, "request", operator, reason, result, seen=_plain(describe(row)))
    log.info("sagas.operator.acted", action=action, operator=operator, saga_id=str(saga_id), result=result)
    return result


def _do(row: SagaInstance, action: str, operator: str, reason: str, reference: str, approved_by: str) -> str:
    wish, resolution = _WISHES[action]
    loaded = load([row.pk])[row.pk]
    cases = list(Case.objects.select_for_update().filter(saga_id=row.pk, status=Case.Status.OPEN).order_by("pk"))
    wish, orders_by_hand = _prepare(wish, loaded, cases)
    changes = Changes(database_now())
    decision = engine.decide(loaded.definition, loaded.instance, wish, changes.now)
    if decision.ignored:
        raise Refused(_why_ignored(loaded))
    changes.apply(loaded, decision, cause=None)
    if resolution:
        _close(cases, resolution, reason, reference)
    changes.write()
    result = "done" if not decision.orders and not orders_by_hand else "requested"
    OperatorAction.objects.create(
        operator=operator,
        action=action,
        saga_id=row.pk,
        key=row.key,
        case_id=cases[0].pk if cases else None,
        reason=reason,
        reference=reference,
        seen={**_plain(describe(row)), "cases": [case.pk for case in cases]},
        result=result,
        approved_by=approved_by,
    )
    return result


def _log_decision(
    approval: Approval, what: str, operator: str, reason: str, result: str, *, seen: dict[str, Any] | None = None
) -> None:
    """Write a request, or what became of it, into the operator log."""
    OperatorAction.objects.create(
        operator=operator,
        action=f"{what} {approval.action}",
        saga_id=approval.saga_id,
        key=approval.key,
        case_id=approval.case_id,
        reason=reason,
        reference=approval.reference,
        seen={"approval": approval.pk, "requested_by": approval.requested_by, **(seen or {})},
        result=result,
    )


def _prepare(wish: Input, loaded: Loaded, cases: list[Case]) -> tuple[Input, bool]:
    """Deal with the dead deliveries behind the stuck steps; says whether something was sent again."""
    messages = {case.step: case.message_id for case in cases if case.message_id is not None}
    if isinstance(wish, RetryStuck):
        present = redrive(message_ids=messages.values())
        stuck = {n for n, state in loaded.instance.steps.items() if state.status is StepStatus.STUCK}
        fresh = frozenset(name for name in stuck if messages.get(name) not in present)
        return RetryStuck(fresh), True
    if not isinstance(wish, CancelRequested):
        discard(message_ids=messages.values())
    return wish, False


def _why_ignored(loaded: Loaded) -> str:
    if loaded.instance.reason:
        return f"the saga is turning back already: {loaded.instance.reason}"
    if loaded.instance.status not in LIVE:
        return f"the saga has ended: {loaded.instance.status}"
    return "the saga is past the point of no return; offer a return instead"


def _close(cases: list[Case], resolution: str, reason: str, reference: str) -> None:
    Case.objects.filter(pk__in=[case.pk for case in cases]).update(
        status=Case.Status.CLOSED,
        resolution=resolution,
        reason=reason,
        reference=reference,
        closed_at=timezone.now(),
    )


def _require(reason: str) -> None:
    if not reason.strip():
        raise ReasonMissing("give a reason: the next person will read it")


def _deadline_cases(stuck: Sequence[tuple[Loaded, str]]) -> list[CaseFile]:
    """Return the cases of steps without an answer, each with the command that may still be on its way."""
    if not stuck:
        return []
    commands = last_commands(ordering_keys=[loaded.instance.key for loaded, _ in stuck])
    cases = []
    for loaded, name in stuck:
        state = loaded.instance.steps[name]
        case = CaseFile(
            key=loaded.instance.key,
            error_class="DeadlinePassed",
            error=f"step {name} ({state.direction}) has had no answer since {state.started_at}",
            fingerprint=f"deadline:{loaded.definition.name}:{name}",
            saga_id=loaded.instance.id,
            step=name,
            direction=state.direction,
            message_id=commands.get((loaded.instance.id, wire_step(name, state), state.direction)),
        )
        cases.append(case)
    return cases


def _overdue(limit: int) -> list[UUID]:
    names, versions = zip(*definitions(), strict=True)
    with connection.cursor() as cursor:
        cursor.execute(sql.OVERDUE, [list(names), list(versions), limit])
        return [row[0] for row in cursor.fetchall()]


def _plain(value: dict[str, Any]) -> Any:
    return msgspec.to_builtins(value)
