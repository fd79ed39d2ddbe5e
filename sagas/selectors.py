"""Reads over sagas: find one by order or saga id, list them, tell the whole story of an order."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import Count, Min, Q, QuerySet

from outbox.models import Attempt, Message
from outbox.selectors import attempts_of, messages_of
from sagas import metrics
from sagas.definition import definitions
from sagas.instances import DEFAULT_OWNER
from sagas.models import Approval, Case, OperatorAction, SagaInstance
from sagas.states import LIVE

# What an operator does to an order, as far as its customer is told of it.
_DEEDS = frozenset({"retry", "skip", "resolve", "abandon", "compensate", "cancel"})
LIVE_STATUSES = tuple(status.value for status in LIVE)


class UnknownSaga(LookupError):
    """No saga has this id, and no order with this id has a saga."""


def find(any_id: UUID) -> SagaInstance:
    """Return the saga with this id, or the order's live saga, or its last one. Raises `UnknownSaga`."""
    sagas = list(SagaInstance.objects.filter(Q(pk=any_id) | Q(key=any_id)))
    if not sagas:
        raise UnknownSaga(f"no saga and no order has the id {any_id}")
    return max(sagas, key=lambda saga: (saga.pk == any_id, saga.status in LIVE_STATUSES, saga.started_at))


def sagas(*, status: str | None = None) -> QuerySet[SagaInstance]:
    """Return sagas, newest first; of one status if given."""
    found = SagaInstance.objects.order_by("-id")
    return found.filter(status=status) if status else found


def timeline(order_id: UUID, *, is_for_customer: bool = False) -> dict[str, Any]:
    """Return all that happened to an order, in order of time: sagas with steps, messages, failed attempts, people.

    Keys: `order_id`, `sagas`, `entries`. Every entry has `at`, `kind` and `what`. A customer is told what was done to
    the order, and not what people wrote and arranged between themselves.
    """
    runs = SagaInstance.objects.filter(key=order_id).order_by("started_at")
    deeds = OperatorAction.objects.filter(key=order_id)
    entries = [
        *map(_said, messages_of(ordering_key=order_id)),
        *map(_tried, attempts_of(ordering_key=order_id)),
        *(_done_by_hand(action) for action in deeds if not is_for_customer or _changed_the_order(action)),
        *(_opened(case, shows_person=not is_for_customer) for case in Case.objects.filter(key=order_id)),
    ]
    entries.sort(key=lambda entry: (entry["at"], entry.get("sequence", 0)))
    return {"order_id": order_id, "sagas": [describe(run) for run in runs], "entries": entries}


def _said(message: Message) -> dict[str, Any]:
    return {
        "at": message.time,
        "kind": message.kind,
        "what": message.type,
        "id": message.id,
        "source": message.source,
        "saga_id": message.correlation_id,
        "cause": message.causation_id,
        "step": message.headers.get("step"),
        "direction": message.headers.get("direction"),
        "sequence": message.sequence,
    }


def _tried(attempt: Attempt) -> dict[str, Any]:
    return {
        "at": attempt.at,
        "kind": "attempt",
        "what": f"{attempt.type} → {attempt.destination}: {attempt.decision}",
        "message_id": attempt.message_id,
        "attempt": attempt.attempt,
        "error_class": attempt.error_class,
        "error": attempt.error,
    }


def _done_by_hand(action: OperatorAction) -> dict[str, Any]:
    return {
        "at": action.at,
        "kind": "operator",
        "what": action.action,
        "operator": action.operator,
        "reason": action.reason,
        "reference": action.reference,
        "approved_by": action.approved_by,
        "result": action.result,
    }


def _changed_the_order(action: OperatorAction) -> bool:
    """Tell whether an action, or the decision on it, was about the order itself: `approve retry` is, `note` is not."""
    return action.action.removeprefix("request ").removeprefix("approve ").removeprefix("decline ") in _DEEDS


def _opened(case: Case, *, shows_person: bool) -> dict[str, Any]:
    return {
        "at": case.opened_at,
        "kind": "case",
        "what": f"case {case.pk} opened: {case.error_class}",
        "step": case.step or None,
        "status": case.status,
        "due_at": case.due_at,
        "owner": case.owner if shows_person or not case.is_claimed else DEFAULT_OWNER,
    }


def describe(saga: SagaInstance) -> dict[str, Any]:
    """Return a saga with its steps as plain values."""
    return {
        "id": saga.pk,
        "saga": saga.name,
        "version": saga.version,
        "order_id": saga.key,
        "status": saga.status,
        "reason": saga.reason,
        "started_at": saga.started_at,
        "ended_at": saga.ended_at,
        "due_at": saga.due_at,
        "steps": [{"step": name, **_step(saga.steps[name])} for name in _in_order(saga)],
    }


def _in_order(saga: SagaInstance) -> list[str]:
    """Return the names of the steps as the definition tells them; the database keeps them by length."""
    definition = definitions().get((saga.name, saga.version))
    told = list(definition.by_name) if definition else []
    return [name for name in told if name in saga.steps] + sorted(name for name in saga.steps if name not in told)


def _step(state: dict[str, Any]) -> dict[str, Any]:
    return {
        "status": state.get("status", "PENDING"),
        "direction": state.get("direction", "action"),
        "started_at": state.get("started_at"),
        "ended_at": state.get("ended_at"),
        "error": state.get("error", ""),
        "generation": state.get("generation", 1),
    }


def in_flight() -> list[tuple[str, int, int]]:
    """Return name, version and number of live sagas."""
    rows = SagaInstance.objects.filter(status__in=LIVE_STATUSES).values_list("name", "version")
    return sorted(rows.annotate(many=Count("id")))


def orphaned(known: Iterable[tuple[str, int]]) -> list[tuple[str, int, int]]:
    """Return those of them whose definition is not among these."""
    return [row for row in in_flight() if (row[0], row[1]) not in set(known)]


def refresh_gauges(now: datetime) -> None:
    """Measure live sagas and open cases into the gauges; run by beat."""
    live = SagaInstance.objects.filter(status__in=LIVE_STATUSES).values_list("name", "status")
    counted = {(name, status): many for name, status, many in live.annotate(many=Count("id"))}
    for name in {name for name, _ in (*definitions(), *counted)}:
        for status in LIVE_STATUSES:
            metrics.INSTANCES.labels(name, status).set(counted.get((name, status), 0))
    cases = Case.objects.filter(status=Case.Status.OPEN).aggregate(many=Count("id"), oldest=Min("opened_at"))
    metrics.CASES_OPEN.set(cases["many"])
    metrics.CASE_OLDEST.set((now - cases["oldest"]).total_seconds() if cases["oldest"] else 0)
    asked = Approval.objects.filter(status=Approval.Status.REQUESTED).aggregate(
        many=Count("id"), oldest=Min("requested_at")
    )
    metrics.APPROVALS_WAITING.set(asked["many"])
    metrics.APPROVAL_OLDEST.set((now - asked["oldest"]).total_seconds() if asked["oldest"] else 0)
