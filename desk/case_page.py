"""What the page of a case says: what happened, what it costs, who has it, what can be done, what was done before."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone

from desk.actions import ACTIONS, EVERY_ACTION, CaseAction
from desk.actions.buttons import edit_button, saga_buttons
from desk.bulk.prospects import holders
from desk.freshness import POLL_SECONDS, Mark
from desk.group_page import due_in_words
from desk.groups import group_of
from desk.operators import operator_of
from desk.tables import (
    Table,
    actions_table,
    attempts_table,
    case_badge,
    cases_table,
    order_link,
    state_badge,
    steps_table,
)
from outbox.contracts import COMPENSATION
from outbox.desk import clock, duration
from outbox.money import to_text
from sagas import four_eyes
from sagas.cases import NOTE_LENGTH
from sagas.models import Approval, Case, OperatorAction
from sagas.states import LIVE, SagaStatus

# More cases of one order than this tell nothing new.
MOST_EARLIER = 20
# What each action is for, in the words of somebody who has to choose one.
PURPOSES = {
    "retry": "The cause is gone: send it again, with fresh attempts and the same key.",
    "skip": "It does not matter: go on without this step.",
    "resolve": "You have done it by hand: go on, and keep the reference that proves it.",
    "edit": "The message itself is wrong: correct it, and send it again in its place.",
    "compensate": "Undo all that was done for the order, from here.",
    "abandon": "Nothing more will be done: close the saga as it is. Needs a second person.",
}


@dataclass(frozen=True, slots=True)
class Button:
    """One thing that this person can do with this case now."""

    title: str
    url: str
    purpose: str
    variant: str = "default"


def context_of(case: Case, request: HttpRequest) -> dict[str, Any]:
    """Return all that the page of a case shows beside its fields."""
    asked = four_eyes.waiting_for(case=case)
    is_open = case.status == Case.Status.OPEN
    return {
        "case": case,
        "seen": Mark.of(case),
        "poll_seconds": POLL_SECONDS,
        "group": group_of(case),
        "group_url": reverse("admin:sagas_case_changelist", query={"fingerprint": case.fingerprint}),
        "story": [*_story(case)],
        "badge": case_badge(case),
        "saga_state": state_badge(case.saga.status) if case.saga else "",
        "money": money_of(case),
        "due": due_in_words(case.due_at) if is_open else "",
        "is_overdue": is_open and case.due_at < timezone.now(),
        "order": order_link(case.key),
        "is_open": is_open,
        "is_mine": case.is_claimed and case.owner == operator_of(request),
        "may_claim": is_open and request.user.has_perm("sagas.claim_case"),
        "may_note": is_open and request.user.has_perm("sagas.note_case"),
        "note_length": NOTE_LENGTH,
        "notes": case.notes.all(),
        "buttons": [*_buttons(case, asked, request)],
        "asked": asked,
        "bulk_run": holders([case.pk]).get(case.pk) if is_open else None,
        "newer": _newer(case),
        "tables": _tables(case),
    }


def money_of(case: Case) -> str:
    """Return the money that hangs on a case, with its currency; a dash where none is known to."""
    return f"{to_text(minor_units=case.amount, currency=case.currency)} {case.currency}" if case.amount else "-"


def what_of(case: Case) -> str:
    """Return the step that cannot go on and its direction, or who could not take a message, or that it is neither."""
    if case.step:
        return f"{case.step} ({case.direction})"
    # What the engine itself opens a case about is no message that anybody failed on.
    is_report = case.destination in ("", "sagas", "audit")
    return "outside any saga" if is_report else f"message for {case.destination}"


def offered(case: Case, request: HttpRequest) -> Iterator[CaseAction]:
    """Yield what can be done with an open case and what this person may do."""
    if case.status != Case.Status.OPEN:
        return
    for case_action in ACTIONS.values():
        fits = case.saga_id is not None or case_action.is_for_messages
        if fits and request.user.has_perm(case_action.permission):
            yield case_action


def is_own(asked: Approval | None, request: HttpRequest) -> bool:
    """Tell whether this person has asked for it."""
    return asked is not None and four_eyes.person(asked.requested_by) == four_eyes.person(operator_of(request))


def _story(case: Case) -> Iterator[str]:
    if case.step:
        what = "undone" if case.direction == COMPENSATION else "carried out"
        yield f"The step “{case.step}” could not be {what}."
    elif what_of(case).startswith("message"):
        yield f"A {what_of(case)} could not be handled."
    if case.attempts:
        yield f"It was tried {case.attempts} times; then the case was opened, {duration(case.opened_at, None)} ago."
    if case.saga is not None and case.saga.reason:
        yield f"The order is being undone, because: {case.saga.reason.replace('_', ' ')}."
    if case.saga is not None:
        yield _standing(case.saga.status)
    yield group_of(case).means


def _standing(status: str) -> str:
    if status == SagaStatus.SUSPENDED:
        return "The order's saga stands still until a person decides."
    if status in LIVE:
        return f"The order's saga goes on: it is {status}."
    return f"The order's saga has ended: it is {status}."


def _buttons(case: Case, asked: Approval | None, request: HttpRequest) -> Iterator[Button]:
    here = reverse("admin:sagas_case_change", args=[case.pk]).removesuffix("change/")
    if asked is not None and asked.action in EVERY_ACTION:
        title = EVERY_ACTION[asked.action].title
        if is_own(asked, request):
            yield Button(f"Take back: {title}", f"{here}decline/", "You have asked for it, and think better of it.")
        elif request.user.has_perm(four_eyes.PERMISSION):
            yield Button(f"Approve: {title}", f"{here}approve/", "You have looked, and it is right.", "primary")
            yield Button(f"Decline: {title}", f"{here}decline/", "It is not to be done.")
    for case_action in offered(case, request):
        variant = {"retry": "primary", "abandon": "danger"}.get(case_action.name, "default")
        yield Button(case_action.title, f"{here}{case_action.name}/", PURPOSES.get(case_action.name, ""), variant)
    if (edit := edit_button(request.user, case)) is not None:
        yield Button(edit.title, edit.url, PURPOSES["edit"])
    for each in saga_buttons(request.user, case.saga) if case.saga and case.status == Case.Status.OPEN else ():
        yield Button(each.title, each.url, PURPOSES["compensate"], each.variant)


def _newer(case: Case) -> Case | None:
    """Return the open case that has come of the same step since, when this one is closed."""
    if case.status == Case.Status.OPEN:
        return None
    alike = Case.objects.filter(key=case.key, step=case.step, status=Case.Status.OPEN, pk__gt=case.pk)
    return alike.order_by("pk").first()


def _tables(case: Case) -> list[Table]:
    others = Case.objects.filter(key=case.key).exclude(pk=case.pk).order_by("-pk")[:MOST_EARLIER]
    deeds = OperatorAction.objects.filter(**({"saga_id": case.saga_id} if case.saga_id else {"case_id": case.pk}))
    tables = [
        actions_table(deeds.order_by("id")),
        attempts_table(case.key),
        cases_table(others, title="Other cases of this order"),
    ]
    return [steps_table(case.saga), *tables] if case.saga else tables


def opened_of(case: Case) -> str:
    """Return when a person was first needed, and how long ago."""
    return f"{clock(case.opened_at)} ({duration(case.opened_at, case.closed_at)})"
