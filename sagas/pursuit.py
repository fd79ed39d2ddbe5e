"""What has come of what people did: never stored, always derived from the rows that the deed was to change.

A status column could lie; steps, deliveries and newer cases cannot. So *done* means that the effect is committed, and
*requested* that it is still awaited. A retry that ended in another case has *failed again*, and says with which error.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.utils import timezone

from outbox.models import Delivery
from outbox.selectors import handled_at
from sagas.four_eyes import ABANDON, AWAITS_APPROVAL
from sagas.models import Approval, Case, OperatorAction, SagaInstance
from sagas.states import LIVE, SagaStatus, StepStatus

DONE = "done"
REQUESTED = "requested"
FAILED_AGAIN = "failed again"
REFUSED = "refused"
# The saga was closed by somebody before this could take effect.
OVERTAKEN = "overtaken"

# What becomes of these is seen at the step that they send again; of all others at the end of the saga.
_OF_STEPS = frozenset({"retry", "edit"})
_STEP_DONE = (StepStatus.SUCCEEDED, StepStatus.COMPENSATED, StepStatus.SKIPPED, StepStatus.RESOLVED)
_STEP_FAILED = (StepStatus.STUCK, StepStatus.FAILED, StepStatus.UNKNOWN)
_TURNED_DOWN = {
    Approval.Status.DECLINED: "declined by {by}",
    Approval.Status.LAPSED: "the request has lapsed: the saga has changed, or it was asked for anew",
}
_DECISIONS = ("request", "approve", "decline")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What has come of an action by now: a status of this module, since when, and why it is not done.

    `case_id` is the case that it ended in when it has failed again.
    """

    status: str
    at: datetime | None = None
    error: str = ""
    case_id: int | None = None

    def __str__(self) -> str:
        return f"{self.status}: {self.error}" if self.error else self.status


def outcome_of(actions: Sequence[OperatorAction]) -> dict[int, Outcome]:
    """Return what has come of each of these actions by now, by its id.

    A handful of statements, however many actions there are.
    """
    facts = _Facts(actions)
    return {action.pk: _judge(action, facts) for action in actions}


class _Facts:
    """The rows that tell what has become of some actions."""

    def __init__(self, actions: Sequence[OperatorAction]) -> None:
        self.now = timezone.now()
        pursued = [action for action in actions if action.result != DONE]
        asked = {approval for action in pursued if (approval := action.seen.get("approval")) is not None}
        self.approvals = Approval.objects.in_bulk(asked) if asked else {}
        sagas = {action.saga_id for action in pursued if action.saga_id is not None}
        self.sagas = SagaInstance.objects.defer("data").in_bulk(sagas) if sagas else {}
        self.cases: dict[UUID, list[Case]] = defaultdict(list)
        keys = {action.key for action in pursued if action.key is not None}
        for case in Case.objects.filter(key__in=keys).order_by("id") if keys else ():
            self.cases[case.key].append(case)
        self.case_by_id = {case.pk: case for cases in self.cases.values() for case in cases}
        messages = {pair for action in pursued if (pair := self.delivery_of(action)) is not None}
        self.deliveries = _deliveries(messages, keys)
        self.handled = handled_at(pairs=messages)

    def delivery_of(self, action: OperatorAction) -> tuple[str, UUID] | None:
        """Return destination and message of an action on one message outside any saga."""
        if action.saga_id is not None:
            return None
        seen = action.seen
        if "message_id" in seen and "destination" in seen:
            return seen["destination"], UUID(seen.get("replaced_by") or seen["message_id"])
        case = self.case_by_id.get(action.case_id) if action.case_id is not None else None
        if case is None or case.message_id is None:
            return None
        return case.destination, case.message_id


def _judge(action: OperatorAction, facts: _Facts) -> Outcome:
    if action.result == DONE:
        return Outcome(DONE, action.at)
    if action.result.startswith(REFUSED):
        # Nothing was done, so nothing comes of it. A bulk run writes a line for what it was refused, too.
        return Outcome(REFUSED, action.at, action.result.removeprefix(REFUSED).lstrip(": "))
    what, since = action.action, action.at
    decision, _, wanted = what.partition(" ")
    if decision in _DECISIONS and wanted:
        approval = facts.approvals.get(action.seen.get("approval"))
        if approval is None:
            return Outcome(action.result, action.at)
        if approval.status != Approval.Status.CARRIED_OUT:
            return _of_request(approval, facts.now)
        what, since = approval.action, approval.decided_at or action.at
    saga = facts.sagas.get(action.saga_id) if action.saga_id else None
    if saga is not None:
        if what == ABANDON and saga.status == SagaStatus.ABANDONED:
            return Outcome(DONE, saga.ended_at)
        newer = _newer_cases(saga, since, facts)
        return _of_steps(action, saga, newer, since) if what in _OF_STEPS else _of_saga(saga, newer, since)
    delivery = facts.delivery_of(action)
    if delivery is None:
        return Outcome(action.result, action.at)
    return _of_delivery(delivery, action, since, facts)


def _of_request(approval: Approval, now: datetime) -> Outcome:
    if approval.status != Approval.Status.REQUESTED:
        why = _TURNED_DOWN[Approval.Status(approval.status)].format(by=approval.decided_by)
        return Outcome(REFUSED, approval.decided_at, why)
    if approval.expires_at <= now:
        return Outcome(REFUSED, approval.expires_at, "nobody approved it in time")
    return Outcome(AWAITS_APPROVAL, approval.requested_at)


def _newer_cases(saga: SagaInstance, since: datetime, facts: _Facts) -> list[Case]:
    return [case for case in facts.cases[saga.key] if case.saga_id == saga.pk and case.opened_at > since]


def _of_steps(action: OperatorAction, saga: SagaInstance, newer: Sequence[Case], since: datetime) -> Outcome:
    stuck = [step["step"] for step in action.seen.get("steps", ()) if step["status"] == StepStatus.STUCK]
    outcomes = [_of_step(name, saga, [case for case in newer if case.step == name], since) for name in stuck]
    return _worst(outcomes) or _of_saga(saga, newer, since)


def _of_step(name: str, saga: SagaInstance, newer: Sequence[Case], since: datetime) -> Outcome:
    for case in newer:
        if case.resolution != Case.Resolution.RECOVERED:
            return Outcome(FAILED_AGAIN, case.opened_at, case.error, case.pk)
    state: dict[str, Any] = saga.steps.get(name, {})
    status = StepStatus(state.get("status", StepStatus.PENDING))
    ended_at = datetime.fromisoformat(state["ended_at"]) if state.get("ended_at") else None
    if status in _STEP_DONE:
        return Outcome(DONE, ended_at)
    if status in _STEP_FAILED:
        return Outcome(FAILED_AGAIN, ended_at, state.get("error", ""))
    return _overtaken(saga) or Outcome(REQUESTED, since)


def _of_saga(saga: SagaInstance, newer: Iterable[Case], since: datetime) -> Outcome:
    if saga.status not in LIVE:
        return _overtaken(saga) or Outcome(DONE, saga.ended_at)
    for case in newer:
        if case.status == Case.Status.OPEN:
            return Outcome(FAILED_AGAIN, case.opened_at, case.error, case.pk)
    return Outcome(REQUESTED, since)


def _overtaken(saga: SagaInstance) -> Outcome | None:
    if saga.status != SagaStatus.ABANDONED:
        return None
    return Outcome(OVERTAKEN, saga.ended_at, "the saga was abandoned before this took effect")


def _of_delivery(pair: tuple[str, UUID], action: OperatorAction, since: datetime, facts: _Facts) -> Outcome:
    for case in facts.cases[action.key] if action.key else ():
        is_newer = case.opened_at > since and (case.destination, case.message_id) == pair
        if is_newer and case.resolution != Case.Resolution.RECOVERED:
            return Outcome(FAILED_AGAIN, case.opened_at, case.error, case.pk)
    delivery = facts.deliveries.get(pair)
    if delivery is not None and delivery.dead_at is not None and delivery.dead_at > since:
        return Outcome(FAILED_AGAIN, delivery.dead_at, f"{delivery.error_class}: {delivery.error}")
    if delivery is not None:
        return Outcome(REQUESTED, since)
    return Outcome(DONE, facts.handled.get(pair, since))


def _worst(outcomes: Sequence[Outcome]) -> Outcome | None:
    """Return what several steps come to: failed as soon as one has, done when all are."""
    for status in (FAILED_AGAIN, OVERTAKEN, REQUESTED):
        for outcome in outcomes:
            if outcome.status == status:
                return outcome
    return max(outcomes, key=lambda outcome: outcome.at.timestamp() if outcome.at else 0.0, default=None)


def _deliveries(pairs: Collection[tuple[str, UUID]], keys: Collection[UUID]) -> dict[tuple[str, UUID], Delivery]:
    if not pairs:
        return {}
    # By the key, which has an index. A dead delivery is due in the year 9999, which no Python time can hold.
    of_orders = Delivery.objects.defer("available_at").filter(ordering_key__in=keys)
    found = of_orders.filter(message_id__in={message_id for _, message_id in pairs})
    return {(delivery.destination, delivery.message_id): delivery for delivery in found}
