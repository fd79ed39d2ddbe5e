"""Who works on a case, and what people wrote on it: one function, one transaction, one line in the operator log.

A case that nobody has claimed is the team's. Whoever claims it tells the others so; it keeps nobody from acting, since
at night the one who sees the cause must not have to wait for the one who sleeps.
"""

from __future__ import annotations

from typing import Any

import structlog
from django.db import transaction
from django.db.models.functions import Now

from outbox.transactions import rerun_on_conflict
from sagas import operator_log
from sagas.engine import Refused
from sagas.instances import DEFAULT_OWNER
from sagas.models import Case, CaseNote

log = structlog.get_logger(__name__)

CLAIM, TAKE_OVER, RELEASE, NOTE = "claim", "take over", "release", "note"
# A note is read at three in the morning; what is longer belongs into a ticket that the note names.
NOTE_LENGTH = 4_000


class NoSuchCase(Refused):
    """No case has this number."""


class HasOwner(Refused):
    """A person has the case already, or another one than was seen."""


class NotTheOwner(Refused):
    """Only who has a case can give it back."""


class NothingWritten(Refused):
    """A note or a reason without a word, or with too many."""


@rerun_on_conflict
def claim(*, case_id: int, operator: str, origin: str = "") -> None:
    """Make a person the owner of a case that nobody has. Raises `Refused`."""
    with transaction.atomic():
        case = _open(case_id)
        if case.is_claimed:
            raise HasOwner(f"{_holder(case, operator)} it already, since {case.claimed_at:%Y-%m-%d %H:%M} UTC")
        _give(case, CLAIM, operator, origin)


@rerun_on_conflict
def take_over(*, case_id: int, operator: str, from_owner: str, reason: str, origin: str = "") -> None:
    """Make a person the owner of a case that another one has, who is named as he was seen. Raises `Refused`."""
    _require(reason, "say why you take it over: its owner will read it")
    with transaction.atomic():
        case = _open(case_id)
        if not case.is_claimed:
            raise HasOwner("nobody has the case any more: claim it")
        if case.owner != from_owner or case.owner == operator:
            raise HasOwner(f"the case has changed since you looked: {_holder(case, operator)} it now; look again")
        _give(case, TAKE_OVER, operator, origin, reason=reason.strip())


@rerun_on_conflict
def release(*, case_id: int, operator: str, origin: str = "") -> None:
    """Give a case that one has back to the team. Raises `Refused`."""
    with transaction.atomic():
        case = _open(case_id)
        if not case.is_claimed:
            raise NotTheOwner("nobody has the case: there is nothing to release")
        if case.owner != operator:
            raise NotTheOwner(f"{case.owner} has the case: take it over, then you can release it")
        Case.objects.filter(pk=case.pk).update(owner=DEFAULT_OWNER, claimed_at=None)
        _write(case, RELEASE, operator, origin)


@rerun_on_conflict
def note(*, case_id: int, operator: str, text: str, origin: str = "") -> CaseNote:
    """Add what a person has to say to an open case; nobody can change it afterwards. Raises `Refused`."""
    _require(text, "write something: an empty note helps nobody")
    if len(text.strip()) > NOTE_LENGTH:
        raise NothingWritten(f"a note has at most {NOTE_LENGTH} characters; name the ticket that has the rest")
    with transaction.atomic():
        case = _open(case_id)
        written = CaseNote.objects.create(case=case, author=operator, origin=origin, text=text.strip())
        _write(case, NOTE, operator, origin, reason=text.strip(), note=written.pk)
    return written


def _open(case_id: int) -> Case:
    """Lock a case that can still be worked on. Raises `Refused`."""
    case = Case.objects.select_for_update(of=("self",)).filter(pk=case_id).first()
    if case is None:
        raise NoSuchCase(f"there is no case {case_id}")
    if case.status != Case.Status.OPEN:
        raise Refused(f"case {case_id} is closed already: {case.get_resolution_display().lower()}")
    return case


def _give(case: Case, action: str, operator: str, origin: str, *, reason: str = "") -> None:
    Case.objects.filter(pk=case.pk).update(owner=operator, claimed_at=Now())
    _write(case, action, operator, origin, reason=reason)


def _write(case: Case, action: str, operator: str, origin: str, *, reason: str = "", **more: Any) -> None:
    operator_log.write(
        operator=operator,
        origin=origin,
        action=action,
        key=case.key,
        saga_id=case.saga_id,
        case_id=case.pk,
        reason=reason,
        seen={"case": case.pk, "owner": case.owner, "is_claimed": case.is_claimed, **more},
        result="done",
    )
    log.info("sagas.case.owned" if action != NOTE else "sagas.case.noted", case=case.pk, action=action, by=operator)


def _holder(case: Case, operator: str) -> str:
    return "you have" if case.owner == operator else f"{case.owner} has"


def _require(text: str, hint: str) -> None:
    if not text.strip():
        raise NothingWritten(hint)
