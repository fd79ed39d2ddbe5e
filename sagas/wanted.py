"""What a person wants done, and what is written of it: the part that all services for operators share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from django.utils import timezone

from sagas import four_eyes, operator_log
from sagas.editing import Change
from sagas.engine import Refused
from sagas.models import Approval, Case, SagaInstance
from sagas.selectors import describe


class StaleView(Refused):
    """It has changed since the operator looked at it; look again before you act."""


class ReasonMissing(Refused):
    """An action that a person answers for needs a reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a person wants done: who, from where, why; `approved_by` once a second person has agreed.

    `outside` is what bank and carrier said when the person looked, as plain values; `change` is what he edited.
    """

    action: str
    operator: str
    origin: str = ""
    reason: str
    reference: str = ""
    approved_by: str = ""
    outside: Sequence[Mapping[str, Any]] = ()
    change: Change | None = None

    @classmethod
    def of(cls, approval: Approval, *, approved_by: str) -> Wanted:
        """Return what was asked for, now that a second person agrees."""
        details = approval.details or {}
        return cls(
            action=approval.action,
            operator=approval.requested_by,
            origin=approval.origin,
            reason=approval.reason,
            reference=approval.reference,
            approved_by=approved_by,
            outside=details.get("outside", ()),
            change=Change.read(details["change"]) if "change" in details else None,
        )

    def require_reason(self) -> None:
        """Raise `ReasonMissing` unless it says why."""
        if not self.reason.strip():
            raise ReasonMissing("give a reason: the next person will read it")

    def write(self, *, result: str, seen: dict[str, Any], **about: Any) -> None:
        """Write the line of the operator log about this deed. The caller's transaction."""
        operator_log.write(
            operator=self.operator,
            origin=self.origin,
            action=self.action,
            reason=self.reason,
            reference=self.reference,
            approved_by=self.approved_by,
            result=result,
            seen={**seen, **self._seen_too()},
            **about,
        )

    def ask(self, about: SagaInstance | Case, *, seen: dict[str, Any]) -> None:
        """Ask a second person for it instead, and write that down. The caller's transaction. Raises `Refused`."""
        details: dict[str, Any] = {"outside": list(self.outside)} if self.outside else {}
        if self.change is not None:
            details["change"] = self.change.plain()
        approval = four_eyes.ask(
            about=about,
            action=self.action,
            operator=self.operator,
            origin=self.origin,
            reason=self.reason,
            reference=self.reference,
            details=details or None,
        )
        write_decision(
            approval,
            "request",
            operator=self.operator,
            origin=self.origin,
            reason=self.reason,
            result=four_eyes.AWAITS_APPROVAL,
            seen={**seen, **self._seen_too()},
        )

    def _seen_too(self) -> dict[str, Any]:
        seen: dict[str, Any] = {"outside": list(self.outside)} if self.outside else {}
        if self.change is not None:
            seen |= {"edited": self.change.message_id, "difference": self.change.difference}
        return plain(seen)


def write_decision(
    approval: Approval,
    what: str,
    *,
    operator: str,
    origin: str,
    reason: str,
    result: str,
    seen: dict[str, Any] | None = None,
) -> None:
    """Write a request, or what became of it, into the operator log. The caller's transaction."""
    operator_log.write(
        operator=operator,
        origin=origin,
        action=f"{what} {approval.action}",
        saga_id=approval.saga_id,
        key=approval.key,
        case_id=approval.case_id,
        reason=reason,
        reference=approval.reference,
        seen={"approval": approval.pk, "requested_by": approval.requested_by, **(seen or {})},
        result=result,
    )


def close_cases(cases: Iterable[Case], *, resolution: str, wanted: Wanted) -> None:
    """Close the cases that a deed settles. The caller's transaction."""
    Case.objects.filter(pk__in=[case.pk for case in cases]).update(
        status=Case.Status.CLOSED,
        resolution=resolution,
        reason=wanted.reason,
        reference=wanted.reference,
        closed_at=timezone.now(),
    )


def seen_of(saga: SagaInstance, cases: Iterable[Case] = ()) -> dict[str, Any]:
    """Return the state of a saga as the operator log keeps it."""
    return {**plain(describe(saga)), "cases": [case.pk for case in cases]}


def plain(value: dict[str, Any]) -> dict[str, Any]:
    """Return the value with nothing but what JSON knows."""
    built: dict[str, Any] = msgspec.to_builtins(value)
    return built
