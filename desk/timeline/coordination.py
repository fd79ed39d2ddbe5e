"""What the sagas of an order did, and what people did about them: steps, cases, notes, actions, approvals."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime
from typing import Any

from desk.timeline.shape import Entry, Reading, milliseconds
from outbox.redaction import redacted
from sagas.cases import NOTE as NOTED
from sagas.models import Approval, Case, CaseNote, OperatorAction, SagaInstance
from sagas.pursuit import Outcome, outcome_of
from sagas.selectors import describe

SAGA, CASE, NOTE, OPERATOR, APPROVAL = "saga", "case", "note", "operator", "approval"


def sagas(reading: Reading) -> Iterable[Entry]:
    """Tell how the sagas began and ended, and how their steps ended last."""
    runs = SagaInstance.objects.filter(key=reading.order_id).defer("data")
    return reading.sorted(entry for run in runs for entry in _run(run))


def cases(reading: Reading) -> Iterable[Entry]:
    """Tell when a person was needed, and how that ended."""
    return reading.sorted(entry for case in Case.objects.filter(key=reading.order_id) for entry in _file(case))


def notes(reading: Reading) -> Iterator[Entry]:
    """Tell what people wrote on the order's cases."""
    return map(_written, reading.rows(CaseNote.objects.filter(case__key=reading.order_id), "at", "id"))


def actions(reading: Reading) -> Iterator[Entry]:
    """Tell what people did, and what has come of it by now. Notes tell of themselves."""
    done = list(reading.rows(OperatorAction.objects.filter(key=reading.order_id).exclude(action=NOTED), "at", "id"))
    outcomes = outcome_of(done)
    return (_done(action, outcomes[action.pk]) for action in done)


def approvals(reading: Reading) -> Iterable[Entry]:
    """Tell what waited for a second person, and what that one decided."""
    asked = Approval.objects.filter(key=reading.order_id)
    return reading.sorted(entry for approval in asked for entry in _asked(approval))


def _run(run: SagaInstance) -> Iterator[Entry]:
    about = {"saga_id": run.pk, "saga": f"{run.name} version {run.version}"}
    yield Entry(at=run.started_at, kind=SAGA, what=f"saga {run.name} began", rank=3, detail=about)
    for place, step in enumerate(describe(run)["steps"], start=1):
        ended_at = _moment(step["ended_at"])
        if ended_at is not None:
            yield Entry(
                at=ended_at,
                kind=SAGA,
                what=f"step {step['step']} ({step['direction']}) is {step['status']}",
                rank=3,
                place=place,
                milliseconds=milliseconds(_moment(step["started_at"]), ended_at),
                detail={
                    **about,
                    "step": step["step"],
                    "direction": step["direction"],
                    "status": step["status"],
                    "started_at": step["started_at"],
                    "generation": step["generation"],
                    "error": step["error"],
                },
            )
    if run.ended_at is not None:
        yield Entry(
            at=run.ended_at,
            kind=SAGA,
            what=f"saga {run.name} is {run.status}",
            rank=4,
            milliseconds=milliseconds(run.started_at, run.ended_at),
            detail={**about, "status": run.status, "reason": run.reason},
        )


def _file(case: Case) -> Iterator[Entry]:
    yield Entry(
        at=case.opened_at,
        kind=CASE,
        what=f"case {case.pk} opened: {case.error_class}",
        rank=4,
        place=case.pk,
        detail={
            "case_id": case.pk,
            "saga_id": case.saga_id,
            "step": case.step,
            "direction": case.direction,
            "destination": case.destination,
            "message_id": case.message_id,
            "error_class": case.error_class,
            "error": case.error,
            "fingerprint": case.fingerprint,
            "attempts": case.attempts,
            "owner": case.owner,
            "due_at": case.due_at,
            "amount": case.amount,
            "currency": case.currency,
        },
    )
    if case.closed_at is not None:
        yield Entry(
            at=case.closed_at,
            kind=CASE,
            what=f"case {case.pk} closed: {case.get_resolution_display()}",
            rank=4,
            place=case.pk,
            milliseconds=milliseconds(case.opened_at, case.closed_at),
            detail={
                "case_id": case.pk,
                "resolution": case.resolution,
                "reason": case.reason,
                "reference": case.reference,
            },
        )


def _written(note: CaseNote) -> Entry:
    return Entry(
        at=note.at,
        kind=NOTE,
        what=f"{note.author} noted on case {note.case_id}: {note.text}",
        rank=5,
        place=note.pk,
        detail={"case_id": note.case_id, "author": note.author, "origin": note.origin, "text": note.text},
    )


def _done(action: OperatorAction, outcome: Outcome) -> Entry:
    return Entry(
        at=action.at,
        kind=OPERATOR,
        what=f"{action.operator}: {action.action} ({outcome.status})",
        place=action.pk,
        detail={
            "action_id": action.pk,
            "action": action.action,
            "operator": action.operator,
            "origin": action.origin,
            "reason": action.reason,
            "reference": action.reference,
            "approved_by": action.approved_by,
            "result_then": action.result,
            "result_now": outcome.status,
            "result_at": outcome.at,
            "error": outcome.error,
            "saga_id": action.saga_id,
            "case_id": action.case_id,
            "seen": redacted(action.seen),
        },
    )


def _asked(approval: Approval) -> Iterator[Entry]:
    about: dict[str, Any] = {
        "approval_id": approval.pk,
        "action": approval.action,
        "saga_id": approval.saga_id,
        "case_id": approval.case_id,
    }
    yield Entry(
        at=approval.requested_at,
        kind=APPROVAL,
        what=f"{approval.requested_by} asked for a second person: {approval.action}",
        rank=1,
        place=approval.pk,
        detail={
            **about,
            "requested_by": approval.requested_by,
            "origin": approval.origin,
            "reason": approval.reason,
            "reference": approval.reference,
            "amount": approval.amount,
            "currency": approval.currency,
            "expires_at": approval.expires_at,
        },
    )
    if approval.decided_at is not None:
        how = approval.get_status_display().lower()
        yield Entry(
            at=approval.decided_at,
            kind=APPROVAL,
            what=f"the request to {approval.action} is {how.replace('_', ' ')}",
            rank=1,
            place=approval.pk,
            milliseconds=milliseconds(approval.requested_at, approval.decided_at),
            detail={**about, "status": approval.status, "decided_by": approval.decided_by},
        )


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
