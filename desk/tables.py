"""How the desk shows sagas: colors of states, and the tables that tell a saga's story."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from django.urls import NoReverseMatch, reverse
from django.utils import timezone
from django.utils.safestring import SafeString

from outbox.admin import DECISIONS, message_link
from outbox.desk import badge, clock, duration, link, short
from outbox.models import Attempt
from outbox.selectors import attempts_of, messages_of
from sagas.models import Case, OperatorAction, SagaInstance
from sagas.selectors import describe
from sagas.states import SagaStatus, StepStatus

STATES = {
    SagaStatus.RUNNING: "info",
    SagaStatus.COMPENSATING: "warning",
    SagaStatus.SUSPENDED: "danger",
    SagaStatus.COMPLETED: "success",
    SagaStatus.COMPENSATED: "",
    SagaStatus.ABANDONED: "",
    StepStatus.SUCCEEDED: "success",
    StepStatus.FAILED: "warning",
    StepStatus.UNKNOWN: "warning",
    StepStatus.STUCK: "danger",
    StepStatus.RESOLVED: "success",
    StepStatus.PENDING: "",
    StepStatus.SKIPPED: "",
}


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under a title, as the desk's table template takes them."""

    title: str
    headers: Sequence[str]
    rows: Sequence[Sequence[object]]


def state_badge(state: str) -> SafeString:
    """Return the badge of a saga's or a step's status."""
    return badge(state, STATES.get(state, ""))  # type: ignore[call-overload]


def case_badge(case: Case) -> SafeString:
    """Return the badge of a case: open, overdue, or how it ended."""
    if case.status == Case.Status.OPEN:
        return badge("overdue", "danger") if case.due_at < timezone.now() else badge("open", "warning")
    is_settled = case.resolution in {Case.Resolution.RESOLVED, Case.Resolution.RECOVERED}
    return badge(case.get_resolution_display(), "success" if is_settled else "info")


def saga_link(saga: SagaInstance | UUID | None) -> SafeString | str:
    """Return a link to a saga's page."""
    if saga is None:
        return "-"
    saga_id = saga.pk if isinstance(saga, SagaInstance) else saga
    text = f"{saga.name} {str(saga_id)[:8]}…" if isinstance(saga, SagaInstance) else short(saga_id)
    return link(reverse("admin:sagas_sagainstance_change", args=[saga_id]), text)


def case_link(case: Case) -> SafeString:
    """Return a link to a case's page."""
    return link(reverse("admin:sagas_case_change", args=[case.pk]), f"Case {case.pk}")


def order_link(key: UUID) -> SafeString:
    """Return a link to an order's page, or, where no order lives, to what was said under the key."""
    try:
        url = reverse("admin:orders_order_change", args=[key])
    except NoReverseMatch:
        url = reverse("admin:outbox_message_changelist", query={"q": key})
    return link(url, key)


def steps_table(saga: SagaInstance, *, title: str = "Steps") -> Table:
    """Return the steps of a saga in their order."""
    rows = []
    for step in describe(saga)["steps"]:
        started, ended = _moment(step["started_at"]), _moment(step["ended_at"])
        took = duration(started, ended) if started else "-"
        again = f" (attempt {step['generation']})" if step["generation"] > 1 else ""
        rows.append(
            [
                step["step"],
                state_badge(step["status"]),
                f"{step['direction']}{again}",
                clock(started),
                clock(ended),
                took,
                step["error"] or "-",
            ]
        )
    return Table(title, ["step", "status", "direction", "started", "ended", "took", "error"], rows)


def messages_table(key: UUID) -> Table:
    """Return all that was said of an order, in its order."""
    rows = [
        [
            clock(message.time),
            message_link(message.pk, message.type),
            badge(message.kind, "info" if message.kind == "command" else ""),
            message.source,
            f"{message.headers['step']} ({message.headers['direction']})" if "step" in message.headers else "-",
        ]
        for message in messages_of(ordering_key=key)
    ]
    return Table("Messages of the order", ["at", "message", "kind", "from", "step"], rows)


def attempts_table(key: UUID) -> Table:
    """Return what went wrong on the way."""
    rows = [
        [
            clock(attempt.at),
            message_link(attempt.message_id, attempt.type),
            attempt.destination,
            attempt.attempt,
            badge(attempt.get_decision_display(), DECISIONS[Attempt.Decision(attempt.decision)]),
            f"{attempt.error_class}: {attempt.error}",
        ]
        for attempt in attempts_of(ordering_key=key)
    ]
    return Table("Failed attempts", ["at", "message", "destination", "attempt", "then", "error"], rows)


def cases_table(cases: Iterable[Case]) -> Table:
    """Return files on the desk."""
    rows = [
        [
            case_link(case),
            case_badge(case),
            case.step or case.destination,
            case.error_class,
            clock(case.opened_at),
        ]
        for case in cases
    ]
    return Table("Cases", ["case", "status", "step", "error", "opened"], rows)


def actions_table(actions: Iterable[OperatorAction]) -> Table:
    """Return what people did."""
    rows: list[Sequence[Any]] = [
        [clock(a.at), a.operator, a.action, a.reason, a.reference or "-", a.approved_by or "-", result_badge(a.result)]
        for a in actions
    ]
    return Table("What people did", ["at", "who", "action", "reason", "reference", "approved by", "result"], rows)


def result_badge(result: str) -> SafeString:
    """Return the badge of what came of an operator's action."""
    return badge(result, "success" if result == "done" else "info")


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
