"""Four eyes: what moves or forgives much money needs a second person.

The first one asks; that is a row, which changes nothing. Another one, who may, approves, and only then is it done, as
both saw it: a saga that has changed meanwhile needs a new look and a new request. The rule lives here, below every
door: desk, command line and code alike end in `sagas.services`.
"""

from __future__ import annotations

import unicodedata
from datetime import timedelta
from typing import Any

import structlog
from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import transaction
from django.db.models import BooleanField, ExpressionWrapper, F, Q, QuerySet
from django.db.models.functions import Now

from outbox.commands import origin_name
from sagas import operator_log
from sagas.engine import Refused
from sagas.models import Approval, Case, OperatorAction, SagaInstance

log = structlog.get_logger(__name__)

# What an action comes to that has to wait for the second person.
AWAITS_APPROVAL = "awaits approval"
PERMISSION = "sagas.approve_case"
# How the names of machine accounts begin: nobody knows which person types there.
ACCOUNT_MARK = "cli:"
ABANDON = "abandon"
# Whom the log names for what no person decided.
SWEEP = "sweep"
_IS_EXPIRED = ExpressionWrapper(Q(expires_at__lte=Now()), output_field=BooleanField())


class SamePerson(Refused):
    """Whoever asked for it cannot approve it."""


class MayNotApprove(Refused):
    """Approving takes an active account of the desk with the permission to approve."""


class NotAPerson(Refused):
    """This needs two persons, and a machine account is none."""


class Lapsed(Refused):
    """The request is decided, has expired, or tells of a state that is over."""


def is_needed(*, action: str, data: dict[str, Any]) -> bool:
    """Tell whether this action on a saga with this data needs a second person."""
    if action == ABANDON:
        return True
    limits: dict[str, int] = settings.FOUR_EYES_AMOUNT
    return int(data.get("amount") or 0) > limits.get(str(data.get("currency")), limits[""])


def person(name: str) -> str:
    """Return a name as it is compared: the same for every way to write it, at the desk and on the machine."""
    return unicodedata.normalize("NFKC", name).casefold().strip().removeprefix(ACCOUNT_MARK).strip()


def ask(
    *,
    about: SagaInstance | Case,
    action: str,
    operator: str,
    origin: str = "",
    reason: str,
    reference: str,
    details: dict[str, Any] | None = None,
) -> Approval:
    """Note what a person wants to be approved; requests of his own, or of a state that is over, lapse.

    `details` is what else the action takes, as plain values.

    The caller's transaction, which holds the lock on what it is about.

    Raises `NotAPerson` for a machine account, `Refused` when somebody else's request waits already.
    """
    if operator.startswith(ACCOUNT_MARK):
        raise NotAPerson(f"{action} needs a second person here: say who you are with --operator NAME")
    saga = about if isinstance(about, SagaInstance) else None
    case = about if isinstance(about, Case) else None
    asked = Approval.objects.filter(status=Approval.Status.REQUESTED, saga=saga, case=case)
    changed = Q(pk__in=()) if saga is None else ~Q(seen_at=saga.updated_at)
    mine = [one.pk for one in asked if person(one.requested_by) == person(operator)]
    asked.filter(Q(expires_at__lte=Now()) | changed | Q(pk__in=mine)).update(
        status=Approval.Status.LAPSED, decided_at=Now()
    )
    if (waiting := asked.first()) is not None:
        raise Refused(f"{waiting.requested_by} has asked for {waiting.action} already: approval {waiting.pk}")
    data = saga.data if saga else {}
    approval = Approval.objects.create(
        saga=saga,
        case=case,
        key=about.key,
        action=action,
        reason=reason,
        reference=reference,
        details=details,
        amount=data.get("amount"),
        currency=data.get("currency", ""),
        requested_by=operator,
        origin=origin,
        seen_at=saga.updated_at if saga else None,
        expires_at=Now() + timedelta(hours=settings.FOUR_EYES_EXPIRES_HOURS),
    )
    approval.refresh_from_db()
    return approval


def take(*, approval_id: int, operator: str, is_approval: bool = True) -> Approval:
    """Lock a request that can be decided by this person now. The caller's transaction.

    Whoever asked may take the request back, but not approve it. Raises `Lapsed`, `SamePerson`, `MayNotApprove`.
    """
    known = Approval.objects.filter(pk=approval_id).first()
    if known is None:
        raise Lapsed(f"there is no approval {approval_id}")
    # The saga first, as everybody does.
    sagas = SagaInstance.objects.select_for_update(no_key=True)
    saga = sagas.filter(pk=known.saga_id).first() if known.saga_id else None
    approval = Approval.objects.select_for_update(of=("self",)).annotate(now=Now()).get(pk=approval_id)
    if approval.status != Approval.Status.REQUESTED:
        raise Lapsed(f"approval {approval_id} is {approval.get_status_display().lower()} already")
    if is_approval:
        require_another(approval, operator=operator)
    if not is_own(approval, operator=operator):
        _require_permission(operator)
    if is_approval and approval.expires_at <= approval.now:
        raise Lapsed(f"approval {approval_id} has expired; ask again")
    if is_approval and saga is not None and saga.updated_at != approval.seen_at:
        raise Lapsed(f"the saga has changed since {approval.requested_by} asked: it is {saga.status} now; ask again")
    return approval


def settle(approval: Approval, *, status: str, operator: str) -> None:
    """Write down what became of a request. The caller's transaction."""
    Approval.objects.filter(pk=approval.pk).update(status=status, decided_by=operator, decided_at=Now())


def lapse_overdue(*, limit: int = 500) -> int:
    """Let requests lapse that have expired, or whose saga has changed, each with a line in the log. Returns how many.

    Safe to call from several sweeps at once.
    """
    with transaction.atomic():
        changed = Q(saga__isnull=False) & ~Q(seen_at=F("saga__updated_at"))
        # Whoever decides about one right now has it.
        asked = waiting().select_for_update(of=("self",), skip_locked=True).annotate(is_expired=_IS_EXPIRED)
        lapsed = list(asked.filter(Q(expires_at__lte=Now()) | changed)[:limit])
        lapsing = Approval.objects.filter(pk__in=[one.pk for one in lapsed])
        lapsing.update(status=Approval.Status.LAPSED, decided_at=Now())
        operator_log.write_all(lines=[_lapse_line(one) for one in lapsed])
    if lapsed:
        log.warning("sagas.approvals.lapsed", approvals=[one.pk for one in lapsed])
    return len(lapsed)


def is_own(approval: Approval, *, operator: str) -> bool:
    """Tell whether this person has asked for it."""
    return person(approval.requested_by) == person(operator)


def require_another(approval: Approval, *, operator: str) -> None:
    """Raise `SamePerson` for whoever has asked for it."""
    if is_own(approval, operator=operator):
        raise SamePerson(f"you asked for it yourself: somebody other than {approval.requested_by} must approve")


def waiting() -> QuerySet[Approval]:
    """Return the requests that nobody has decided about, the one that expires first on top."""
    return Approval.objects.filter(status=Approval.Status.REQUESTED).order_by("expires_at", "pk")


def waiting_for(*, case: Case) -> Approval | None:
    """Return the request about this case, or its saga, that can still be approved."""
    asked = Approval.objects.filter(status=Approval.Status.REQUESTED, expires_at__gt=Now())
    if case.saga_id is None:
        return asked.filter(case=case).first()
    return asked.filter(saga=case.saga_id, seen_at=F("saga__updated_at")).first()


def _lapse_line(approval: Any) -> OperatorAction:
    why = "nobody approved it in time" if approval.is_expired else "the saga has changed since it was asked for"
    return OperatorAction(
        operator=SWEEP,
        origin=origin_name(),
        action=f"lapse {approval.action}",
        key=approval.key,
        saga_id=approval.saga_id,
        case_id=approval.case_id,
        reason=why,
        reference=approval.reference,
        seen={"approval": approval.pk, "requested_by": approval.requested_by},
        result="done",
    )


def _require_permission(operator: str) -> None:
    user = get_user_model().objects.filter(username=operator, is_active=True).first()
    if user is None or not user.has_perm(PERMISSION):
        raise MayNotApprove(f"{operator} may not approve what others ask for")
