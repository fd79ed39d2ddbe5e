"""What operators do to sagas: one function, one action, one transaction, one line in the operator log.

Each locks the saga, checks that it is still as the operator saw it, decides through the engine, and says honestly
what came of it: an effect that another process has yet to bring about is "requested", not "done".
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
import structlog
from django.db import connection, transaction
from django.utils import timezone

from outbox.redrive import discard, redrive
from outbox.selectors import last_commands
from sagas import engine, sql
from sagas.definition import definitions
from sagas.engine import Refused
from sagas.inputs import Abandon, CancelRequested, DeadlinePassed, Input, ResolveStuck, RetryStuck, SkipStuck
from sagas.instances import CaseFile, Changes, Loaded, database_now, load
from sagas.models import Case, OperatorAction, SagaInstance
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
    return _act(saga_id, RetryStuck(), "retry", operator, reason or "retry", "", seen_at, Case.Resolution.RETRIED)


def skip(*, saga_id: UUID, operator: str, reason: str, seen_at: datetime | None = None) -> str:
    """Go on without the stuck steps. Returns what came of it. Raises `Refused`."""
    return _act(saga_id, SkipStuck(), "skip", operator, reason, "", seen_at, Case.Resolution.SKIPPED)


def resolve(*, saga_id: UUID, operator: str, reason: str, reference: str, seen_at: datetime | None = None) -> str:
    """Record that a person has done the stuck steps by hand, under an external reference. Raises `Refused`."""
    if not reference.strip():
        raise ReasonMissing("say under which reference it was done by hand")
    return _act(saga_id, ResolveStuck(), "resolve", operator, reason, reference, seen_at, Case.Resolution.RESOLVED)


def abandon(*, saga_id: UUID, operator: str, reason: str, seen_at: datetime | None = None) -> str:
    """Close the saga as it is, undone or not. Returns what came of it. Raises `Refused`."""
    return _act(saga_id, Abandon(), "abandon", operator, reason, "", seen_at, Case.Resolution.ABANDONED)


def compensate(*, saga_id: UUID, operator: str, reason: str, seen_at: datetime | None = None) -> str:
    """Turn a running saga back from where it is. Raises `Refused` past the point of no return."""
    return _act(saga_id, CancelRequested(CANCELLED_BY_OPERATOR), "compensate", operator, reason, "", seen_at, "")


def close_message_case(*, case_id: int, operator: str, action: str, reason: str, reference: str = "") -> str:
    """Settle a case outside any saga: `retry` sends its message again, anything else discards the dead delivery.

    Returns what came of it. Raises `Refused`.
    """
    _require(reason)
    with transaction.atomic():
        case = Case.objects.select_for_update().get(pk=case_id)
        if case.status != Case.Status.OPEN:
            raise Refused(f"case {case_id} is closed already: {case.resolution}")
        if case.message_id is None or case.saga_id is not None:
            raise Refused(f"case {case_id} belongs to a saga; act on the saga")
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
        )
    return result


def sweep_deadlines(*, limit: int = 500) -> int:
    """Turn missed deadlines into decisions: turn back, or ask a person. Returns how many sagas were overdue."""
    with transaction.atomic():
        ids = _overdue(limit)
        changes = Changes(database_now())
        stuck: list[tuple[Loaded, str]] = []
        for loaded in load(ids).values():
            decision = engine.decide(loaded.definition, loaded.instance, DeadlinePassed(), changes.now)
            changes.apply(loaded, decision, cause=None)
            stuck += [(loaded, name) for name in decision.stuck]
        changes.cases += _deadline_cases(stuck)
        changes.write()
    if ids:
        log.warning("sagas.deadlines.missed", sagas=len(ids))
    return len(ids)


def _act(
    saga_id: UUID,
    wish: Input,
    action: str,
    operator: str,
    reason: str,
    reference: str,
    seen_at: datetime | None,
    resolution: str,
) -> str:
    _require(reason)
    with transaction.atomic():
        row = SagaInstance.objects.select_for_update(no_key=True).get(pk=saga_id)
        if seen_at is not None and row.updated_at != seen_at:
            raise StaleView(f"the saga has changed since you looked: it is {row.status} now; look again")
        loaded = load([saga_id])[saga_id]
        cases = list(Case.objects.select_for_update().filter(saga_id=saga_id, status=Case.Status.OPEN))
        wish, orders_by_hand = _prepare(wish, loaded, cases)
        changes = Changes(database_now())
        decision = engine.decide(loaded.definition, loaded.instance, wish, changes.now)
        if decision.ignored:
            raise Refused(_why_ignored(loaded))
        changes.apply(loaded, decision, cause=None)
        if resolution:
            _close(cases, resolution, reason, reference)
        changes.write()
        settled = not decision.orders and not orders_by_hand
        result = "done" if settled else "requested"
        OperatorAction.objects.create(
            operator=operator,
            action=action,
            saga_id=saga_id,
            key=row.key,
            case_id=cases[0].pk if cases else None,
            reason=reason,
            reference=reference,
            seen=_plain(describe(row)),
            result=result,
        )
    log.info("sagas.operator.acted", action=action, operator=operator, saga_id=str(saga_id), result=result)
    return result


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
