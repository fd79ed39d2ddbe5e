"""How the desk shows sagas: colors of states, and the tables that tell a saga's story."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from django.db.models import Model, QuerySet
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from outbox.admin import DECISIONS, message_link
from outbox.desk import badge, clock, duration, link, order_url, short
from outbox.models import Attempt
from outbox.selectors import attempts_of, messages_of
from sagas.models import Case, OperatorAction, SagaInstance
from sagas.pursuit import DONE, FAILED_AGAIN, OVERTAKEN, REFUSED, REQUESTED, Outcome, outcome_of
from sagas.selectors import describe
from sagas.states import SagaStatus, StepStatus

Row = TypeVar("Row", bound=Model)

# More of them on one page tell nothing at a glance.
MOST_ROWS = 100
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
OUTCOMES = {DONE: "success", REQUESTED: "info", FAILED_AGAIN: "danger", REFUSED: "", OVERTAKEN: ""}


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
    """Return a link to an order's page, which tells all that happened under the key."""
    return link(order_url(key), key)


def steps_table(saga: SagaInstance, *, title: str = "Steps") -> Table:
    """Return the steps of a saga in their order."""
    return steps_seen_table(describe(saga)["steps"], title=title)


def steps_seen_table(steps: Iterable[Mapping[str, Any]], *, title: str) -> Table:
    """Return steps as somebody saw them, from the plain values that the operator log keeps."""
    rows = []
    for step in steps:
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
    """Return what was said of an order, in its order; the last of it when it is much."""
    said, cut = _last(messages_of(ordering_key=key), "-sequence")
    rows = [
        [
            clock(message.time),
            message_link(message.pk, message.type),
            badge(message.kind, "info" if message.kind == "command" else ""),
            message.source,
            f"{message.headers['step']} ({message.headers['direction']})" if "step" in message.headers else "-",
        ]
        for message in said
    ]
    return Table(f"Messages of the order{cut}", ["at", "message", "kind", "from", "step"], rows)


def attempts_table(key: UUID) -> Table:
    """Return what went wrong on the way; the last of it when it is much."""
    tried, cut = _last(attempts_of(ordering_key=key), "-id")
    rows = [
        [
            clock(attempt.at),
            message_link(attempt.message_id, attempt.type),
            attempt.destination,
            attempt.attempt,
            badge(attempt.get_decision_display(), DECISIONS[Attempt.Decision(attempt.decision)]),
            f"{attempt.error_class}: {attempt.error}",
        ]
        for attempt in tried
    ]
    return Table(f"Failed attempts{cut}", ["at", "message", "destination", "attempt", "then", "error"], rows)


def cases_table(cases: Iterable[Case], *, title: str = "Cases") -> Table:
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
    return Table(title, ["case", "status", "step", "error", "opened"], rows)


def actions_table(actions: Iterable[OperatorAction]) -> Table:
    """Return what people did, with what has come of it by now."""
    done = list(actions)
    outcomes = outcome_of(done)
    rows: list[Sequence[Any]] = [
        [
            clock(each.at),
            each.operator,
            each.action,
            each.reason or "-",
            each.reference or "-",
            each.approved_by or "-",
            outcome_badge(outcomes[each.pk]),
        ]
        for each in done
    ]
    return Table("What people did", ["at", "who", "action", "reason", "reference", "approved by", "result"], rows)


def result_badge(result: str) -> SafeString:
    """Return the badge of what came of an operator's action."""
    return badge(result, "success" if result == "done" else "info")


def outcome_badge(outcome: Outcome) -> SafeString:
    """Return the badge of what has come of an operator's action by now, with the error of one that has failed."""
    shown = badge(outcome.status, OUTCOMES.get(outcome.status, "info"))
    return format_html("{} {}", shown, outcome.error) if outcome.error else shown


def _last(found: QuerySet[Row], by: str) -> tuple[list[Row], str]:
    """Return the last rows in their order, no more than a page should show, and what to add to their title."""
    rows = list(found.order_by(by)[: MOST_ROWS + 1])
    cut = f": the last {MOST_ROWS}, the order's page has all" if len(rows) > MOST_ROWS else ""
    return rows[:MOST_ROWS][::-1], cut


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
