"""What operators do to sagas and cases: one function, one action, one transaction, one line in the operator log.

Each locks the saga, checks that it is still as the operator saw it, decides through the engine, and says honestly
what came of it: an effect that another process has yet to bring about is "requested", not "done", and what a second
person must approve first (see `sagas.four_eyes`) "awaits approval". What became of it later: `sagas.pursuit`.

All take `outside`: what bank and carrier said when the operator looked, for the log.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, TypeAlias
from uuid import UUID

import structlog
from django.db import transaction

from outbox.models import Delivery
from outbox.redrive import discard, redrive
from outbox.replacing import NotReplaceable, replace, revive
from outbox.transactions import rerun_on_conflict
from sagas import editing, engine, four_eyes
from sagas.engine import Refused
from sagas.inputs import Abandon, CancelRequested, Input, ResolveStuck, RetryStuck, SkipStuck
from sagas.instances import Changes, Loaded, database_now, load
from sagas.models import Approval, Case, SagaInstance
from sagas.states import LIVE, StepStatus
from sagas.wanted import ReasonMissing, StaleView, Wanted, close_cases, plain, seen_of, write_decision

log = structlog.get_logger(__name__)

CANCELLED_BY_OPERATOR = "cancelled_by_operator"
EDIT, RETRY = "edit", "retry"
Outside: TypeAlias = Sequence[Mapping[str, Any]]


def retry(
    *,
    saga_id: UUID,
    operator: str,
    origin: str = "",
    reason: str = "",
    seen_at: datetime | None = None,
    outside: Outside = (),
) -> str:
    """Send the stuck steps of a saga again with fresh attempts. Returns what came of it. Raises `Refused`."""
    reason = reason or RETRY
    return _act(
        saga_id, Wanted(action=RETRY, operator=operator, origin=origin, reason=reason, outside=outside), seen_at
    )


def skip(
    *,
    saga_id: UUID,
    operator: str,
    origin: str = "",
    reason: str,
    seen_at: datetime | None = None,
    outside: Outside = (),
) -> str:
    """Go on without the stuck steps. Returns what came of it. Raises `Refused`."""
    return _act(
        saga_id, Wanted(action="skip", operator=operator, origin=origin, reason=reason, outside=outside), seen_at
    )


def resolve(
    *,
    saga_id: UUID,
    operator: str,
    origin: str = "",
    reason: str,
    reference: str,
    seen_at: datetime | None = None,
    outside: Outside = (),
) -> str:
    """Record that a person has done the stuck steps by hand, under an external reference. Raises `Refused`."""
    wanted = Wanted(
        action="resolve", operator=operator, origin=origin, reason=reason, reference=reference, outside=outside
    )
    _require_reference(wanted)
    return _act(saga_id, wanted, seen_at)


def abandon(
    *,
    saga_id: UUID,
    operator: str,
    origin: str = "",
    reason: str,
    seen_at: datetime | None = None,
    outside: Outside = (),
) -> str:
    """Close the saga as it is, undone or not. Returns what came of it. Raises `Refused`."""
    wanted = Wanted(action="abandon", operator=operator, origin=origin, reason=reason, outside=outside)
    return _act(saga_id, wanted, seen_at)


def compensate(
    *,
    saga_id: UUID,
    operator: str,
    origin: str = "",
    reason: str,
    seen_at: datetime | None = None,
    outside: Outside = (),
) -> str:
    """Turn a running saga back from where it is. Raises `Refused` past the point of no return."""
    wanted = Wanted(action="compensate", operator=operator, origin=origin, reason=reason, outside=outside)
    return _act(saga_id, wanted, seen_at)


def cancel(
    *,
    saga_id: UUID,
    operator: str,
    origin: str = "",
    reason: str,
    seen_at: datetime | None = None,
    outside: Outside = (),
) -> str:
    """Cancel the order of a running saga: it turns back. Raises `Refused` past the point of no return."""
    wanted = Wanted(action="cancel", operator=operator, origin=origin, reason=reason, outside=outside)
    return _act(saga_id, wanted, seen_at)


def edit(
    *,
    case_id: int,
    payload: dict[str, Any],
    operator: str,
    origin: str = "",
    reason: str,
    seen_at: datetime | None = None,
) -> str:
    """Send the message of a case again with another payload, and all else that is stuck beside it as it is.

    Outside any transaction: the outside world is asked about its key first. Returns what came of it. Raises `Refused`,
    among them `editing.NotEditable`.
    """
    case = Case.objects.select_related("saga").get(pk=case_id)
    change = editing.prepare(case=case, payload=payload)
    outside = (change.outside,) if change.outside else ()
    wanted = Wanted(action=EDIT, operator=operator, origin=origin, reason=reason, change=change, outside=outside)
    if case.saga_id is not None:
        return _act(case.saga_id, wanted, seen_at)
    return _close_message_case(case_id, wanted, seen_at)


def approve(*, approval_id: int, operator: str, origin: str = "", reason: str = "") -> str:
    """Do what another person asked for, as both saw it. Returns what came of it. Raises `Refused`."""
    asked = Approval.objects.filter(pk=approval_id, action=EDIT, status=Approval.Status.REQUESTED).first()
    if asked is not None:
        change = Wanted.of(asked, approved_by=operator).change
        assert change is not None  # noqa: S101 - an edit is asked for with what it changes
        editing.ask_outside(change, message=editing.message_of(change.message_id))
    return _approve(approval_id, operator, origin, reason or "approved")


@rerun_on_conflict
def _approve(approval_id: int, operator: str, origin: str, reason: str) -> str:
    with transaction.atomic():
        approval = four_eyes.take(approval_id=approval_id, operator=operator)
        seen = seen_of(approval.saga) if approval.saga else {}
        result = _carry_out(approval, operator)
        four_eyes.settle(approval, status=Approval.Status.CARRIED_OUT, operator=operator)
        write_decision(approval, "approve", operator=operator, origin=origin, reason=reason, result=result, seen=seen)
    return result


@rerun_on_conflict
def decline(*, approval_id: int, operator: str, origin: str = "", reason: str = "") -> None:
    """Refuse what another person asked for, or take back one's own request. Raises `Refused`."""
    with transaction.atomic():
        approval = four_eyes.take(approval_id=approval_id, operator=operator, is_approval=False)
        four_eyes.settle(approval, status=Approval.Status.DECLINED, operator=operator)
        write_decision(
            approval, "decline", operator=operator, origin=origin, reason=reason or "declined", result="done"
        )


def close_message_case(
    *,
    case_id: int,
    operator: str,
    origin: str = "",
    action: str,
    reason: str,
    reference: str = "",
    seen_at: datetime | None = None,
    outside: Outside = (),
) -> str:
    """Settle a case outside any saga: `retry` sends its message again, anything else discards the dead delivery.

    `seen_at` is when the delivery that was seen had died. Returns what came of it. Raises `Refused`.
    """
    wanted = Wanted(
        action=action, operator=operator, origin=origin, reason=reason, reference=reference, outside=outside
    )
    return _close_message_case(case_id, wanted, seen_at)


@rerun_on_conflict
def _close_message_case(case_id: int, wanted: Wanted, seen_at: datetime | None = None) -> str:
    wanted.require_reason()
    if wanted.action == "resolve":
        _require_reference(wanted)
    with transaction.atomic():
        case = Case.objects.select_for_update().get(pk=case_id)
        if case.status != Case.Status.OPEN:
            raise Refused(f"case {case_id} is closed already: {case.resolution}")
        if case.message_id is None or case.saga_id is not None:
            raise Refused(f"case {case_id} belongs to a saga; act on the saga")
        if seen_at is not None and dead_since(case) != seen_at:
            raise StaleView("its message is not as you saw it: somebody has sent it again; look again")
        seen = {"case": case.pk, "error": case.error, "message_id": case.message_id, "destination": case.destination}
        if not wanted.approved_by and four_eyes.is_needed(action=wanted.action, data={}):
            wanted.ask(case, seen=plain(seen))
            return four_eyes.AWAITS_APPROVAL
        if wanted.change is not None:
            seen["replaced_by"] = _replace(wanted.change, case.destination)
            result, resolution = "requested", Case.Resolution.RETRIED
        elif wanted.action == RETRY:
            ids, destination = [case.message_id], case.destination
            if not redrive(message_ids=ids, ordering_key=case.key, destination=destination):
                raise Refused("its delivery is gone; there is nothing to send again")
            result, resolution = "requested", Case.Resolution.RETRIED
        else:
            discard(message_ids=[case.message_id], ordering_key=case.key, destination=case.destination)
            result = "done"
            resolution = Case.Resolution.RESOLVED if wanted.action == "resolve" else Case.Resolution.ABANDONED
        close_cases([case], resolution=resolution, wanted=wanted)
        wanted.write(result=result, seen=plain(seen), key=case.key, case_id=case.pk)
    return result


def dead_since(case: Case) -> datetime | None:
    """Return since when the delivery behind a case outside any saga is dead; None when it is not."""
    of_order = Delivery.objects.filter(ordering_key=case.key, destination=case.destination)
    found = of_order.values_list("message_id", "dead_at")
    return next((dead_at for message_id, dead_at in found if message_id == case.message_id), None)


_WISHES: dict[str, tuple[Input, str]] = {
    RETRY: (RetryStuck(), Case.Resolution.RETRIED),
    EDIT: (RetryStuck(), Case.Resolution.RETRIED),
    "skip": (SkipStuck(), Case.Resolution.SKIPPED),
    "resolve": (ResolveStuck(), Case.Resolution.RESOLVED),
    "abandon": (Abandon(), Case.Resolution.ABANDONED),
    "compensate": (CancelRequested(CANCELLED_BY_OPERATOR), ""),
    "cancel": (CancelRequested(CANCELLED_BY_OPERATOR), ""),
}


def _carry_out(approval: Approval, operator: str) -> str:
    asked = Wanted.of(approval, approved_by=operator)
    if approval.saga_id is None:
        assert approval.case_id is not None  # noqa: S101 - it is of one or the other
        return _close_message_case(approval.case_id, asked)
    return _act(approval.saga_id, asked, approval.seen_at)


@rerun_on_conflict
def _act(saga_id: UUID, wanted: Wanted, seen_at: datetime | None) -> str:
    wanted.require_reason()
    with transaction.atomic():
        row = SagaInstance.objects.select_for_update(no_key=True).get(pk=saga_id)
        if seen_at is not None and row.updated_at != seen_at:
            raise StaleView(f"the saga has changed since you looked: it is {row.status} now; look again")
        if wanted.approved_by or not four_eyes.is_needed(action=wanted.action, data=row.data):
            result = _do(row, wanted)
        else:
            with transaction.atomic():
                # What cannot be done need not be approved: it is tried, and taken back.
                _do(row, wanted)
                transaction.set_rollback(True)
            wanted.ask(row, seen=seen_of(row))
            result = four_eyes.AWAITS_APPROVAL
    log.info(
        "sagas.operator.acted", action=wanted.action, operator=wanted.operator, saga_id=str(saga_id), result=result
    )
    return result


def _do(row: SagaInstance, wanted: Wanted) -> str:
    wish, resolution = _WISHES[wanted.action]
    loaded = load([row.pk])[row.pk]
    cases = list(Case.objects.select_for_update().filter(saga_id=row.pk, status=Case.Status.OPEN).order_by("pk"))
    wish, is_sent_again = _prepare(wish, loaded, cases, wanted)
    changes = Changes(database_now())
    decision = engine.decide(loaded.definition, loaded.instance, wish, changes.now)
    if decision.ignored:
        raise Refused(_why_ignored(loaded))
    changes.apply(loaded, decision, cause=wanted.change.message_id if wanted.change else None)
    if resolution:
        close_cases(cases, resolution=resolution, wanted=wanted)
    changes.write()
    result = "done" if not decision.orders and not is_sent_again else "requested"
    case_id = cases[0].pk if cases else None
    wanted.write(result=result, seen=seen_of(row, cases), saga_id=row.pk, key=row.key, case_id=case_id)
    return result


def _prepare(wish: Input, loaded: Loaded, cases: Sequence[Case], wanted: Wanted) -> tuple[Input, bool]:
    """Deal with the dead deliveries behind the stuck steps; says whether something was sent again."""
    messages = {case.step: case.message_id for case in cases if case.message_id is not None}
    key = loaded.instance.key
    if isinstance(wish, RetryStuck):
        edited = _edited_step(wanted.change, messages) if wanted.change else ""
        again = {step: message_id for step, message_id in messages.items() if step != edited}
        present = redrive(ordering_key=key, message_ids=again.values())
        stuck = {n for n, state in loaded.instance.steps.items() if state.status is StepStatus.STUCK}
        fresh = frozenset(name for name in stuck if messages.get(name) not in present)
        fresh -= {name for name in fresh - {edited} if _revive(messages.get(name))}
        if wanted.change is None:
            # What an earlier edit has changed stays so: the saga's own data still says what it said before.
            kept = {step: command for step in fresh if (command := editing.edited_before(messages.get(step)))}
            return RetryStuck(fresh, kept), True
        return _edited(wanted.change, edited, fresh), True
    if not isinstance(wish, CancelRequested):
        discard(ordering_key=key, message_ids=messages.values())
    return wish, False


def _revive(message_id: UUID | None) -> bool:
    """Have a command delivered again that was given up in doubt: under a new key it might be done a second time."""
    message = editing.given_up_in_doubt(message_id)
    return message is not None and revive(message=message, destination=editing.destination_of(message))


def _edited_step(change: editing.Change, messages: Mapping[str, UUID]) -> str:
    for step, message_id in messages.items():
        if message_id == change.message_id:
            return step
    raise StaleView("its message is not what the saga waits for any more; look again")


def _edited(change: editing.Change, step: str, fresh: frozenset[str]) -> RetryStuck:
    """Put the edited message in the place of the dead one; or, when that was answered for good, have it sent anew."""
    message = editing.message_of(change.message_id)
    if change.dead_since is None:
        return RetryStuck(fresh, {step: change.command(message)})
    destination = Delivery.objects.filter(ordering_key=message.ordering_key, message_id=message.pk)
    _replace(change, destination.values_list("destination", flat=True).first() or "")
    return RetryStuck(fresh - {step})


def _replace(change: editing.Change, destination: str) -> UUID:
    message = editing.message_of(change.message_id)
    if change.dead_since is None:
        raise Refused("its delivery is gone; there is nothing to send again")
    try:
        return replace(message=message, destination=destination, dead_since=change.dead_since, payload=change.payload)
    except NotReplaceable as error:
        raise StaleView(str(error)) from error


def _why_ignored(loaded: Loaded) -> str:
    if loaded.instance.reason:
        return f"the saga is turning back already: {loaded.instance.reason}"
    if loaded.instance.status not in LIVE:
        return f"the saga has ended: {loaded.instance.status}"
    return "the saga is past the point of no return; offer a return instead"


def _require_reference(wanted: Wanted) -> None:
    if not wanted.reference.strip():
        raise ReasonMissing("say under which reference it was done by hand")
