"""Which actions a person is offered on the page of a case, a saga or an order: only those that he may do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.urls import reverse

from desk.actions.catalogue import CANCEL, COMPENSATE, EDIT
from sagas import editing
from sagas.models import Case, SagaInstance
from sagas.states import LIVE


@dataclass(frozen=True, slots=True)
class Button:
    """A link to the page that shows what an action would do."""

    title: str
    url: str
    variant: str = "default"


def saga_buttons(user: Any, saga: SagaInstance) -> Iterator[Button]:
    """Yield what this person can do with a whole saga: turn it back while it goes forward."""
    if saga.status in LIVE and not saga.reason and user.has_perm(COMPENSATE.permission):
        yield Button(COMPENSATE.title, reverse("desk:saga-action", args=[saga.pk, COMPENSATE.name]), "danger")


def order_buttons(user: Any, order_id: UUID, runs: Iterable[SagaInstance]) -> Iterator[Button]:
    """Yield what this person can do with an order: cancel it while a saga of it goes forward."""
    running = [run for run in runs if run.status in LIVE and not run.reason]
    if running and user.has_perm(CANCEL.permission):
        yield Button(CANCEL.title, reverse("desk:order-cancel", args=[order_id]), "danger")
    for run in running:
        yield from saga_buttons(user, run)


def edit_button(user: Any, case: Case) -> Button | None:
    """Return the way to the page that edits the message of an open case, if it has something that this person may."""
    if case.status != Case.Status.OPEN or case.message_id is None or not user.has_perm(EDIT.permission):
        return None
    try:
        editing.require_something_free(editing.message_of(case.message_id))
    except editing.NotEditable:
        return None
    return Button(EDIT.title, reverse("desk:case-edit", args=[case.pk]))
