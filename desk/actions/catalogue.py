"""The actions by name, and the one way to carry one out: the desk's pages and bulk runs both end here."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sagas import services
from sagas.engine import Refused
from sagas.inputs import Abandon, CancelRequested, Input, ResolveStuck, RetryStuck, SkipStuck
from sagas.models import Case, SagaInstance


@dataclass(frozen=True, slots=True)
class CaseAction:
    """One thing that an operator can do.

    `service` acts on a saga; a case outside any saga takes those with `is_for_messages`. `wish` is what the engine is
    told, so that a preview can ask it first.
    """

    name: str
    title: str
    wish: Input
    service: Callable[..., str]
    permission: str
    needs_reference: bool = False
    is_for_messages: bool = True

    def carry_out(
        self,
        *,
        case: Case,
        operator: str,
        origin: str = "",
        reason: str,
        reference: str = "",
        seen_at: datetime | None = None,
        outside: Sequence[Mapping[str, Any]] = (),
    ) -> str:
        """Do it to a case. Returns what came of it: done, requested, or awaits approval. Raises `Refused`."""
        if case.saga is not None:
            return self.carry_out_on(
                saga=case.saga,
                operator=operator,
                origin=origin,
                reason=reason,
                reference=reference,
                seen_at=seen_at,
                outside=outside,
            )
        self.require_message_action()
        return services.close_message_case(
            case_id=case.pk,
            action=self.name,
            operator=operator,
            origin=origin,
            reason=reason,
            reference=reference if self.needs_reference else "",
            seen_at=seen_at,
            outside=outside,
        )

    def carry_out_on(self, *, saga: SagaInstance, reference: str = "", **given: Any) -> str:
        """Do it to a saga. Returns what came of it. Raises `Refused`."""
        if self.needs_reference:
            given["reference"] = reference
        return self.service(saga_id=saga.pk, **given)

    def require_message_action(self) -> None:
        """Raise `Refused` when this cannot be done with a case outside any saga."""
        if not self.is_for_messages:
            raise Refused("this case belongs to no saga; there is no step to act on")


RETRY = CaseAction("retry", "Retry", RetryStuck(), services.retry, "sagas.retry_case")
SKIP = CaseAction("skip", "Skip", SkipStuck(), services.skip, "sagas.skip_case", is_for_messages=False)
RESOLVE = CaseAction(
    "resolve", "Resolve by hand", ResolveStuck(), services.resolve, "sagas.resolve_case", needs_reference=True
)
ABANDON = CaseAction("abandon", "Abandon", Abandon(), services.abandon, "sagas.abandon_case")
# These are about a whole saga or an order, and have a page of their own there.
COMPENSATE = CaseAction(
    "compensate",
    "Compensate from here",
    CancelRequested(services.CANCELLED_BY_OPERATOR),
    services.compensate,
    "sagas.compensate_saga",
    is_for_messages=False,
)
CANCEL = CaseAction(
    "cancel",
    "Cancel the order",
    CancelRequested(services.CANCELLED_BY_OPERATOR),
    services.cancel,
    "sagas.cancel_order",
    is_for_messages=False,
)
# Takes a payload too, so it has a form of its own; what it does to the saga is a retry.
EDIT = CaseAction("edit", "Edit and retry", RetryStuck(), services.edit, "sagas.edit_message")

# What can be done with a case, and with many of them at once.
ACTIONS = {action.name: action for action in (RETRY, SKIP, RESOLVE, ABANDON)}
SAGA_ACTIONS = {action.name: action for action in (COMPENSATE, CANCEL)}
# What a second person may be asked to approve.
EVERY_ACTION = {**ACTIONS, **SAGA_ACTIONS, EDIT.name: EDIT}


def carry_out(
    *,
    case: Case,
    action: str,
    operator: str,
    origin: str = "",
    reason: str,
    reference: str = "",
    seen_at: datetime | None = None,
    outside: Sequence[Mapping[str, Any]] = (),
) -> str:
    """Do one of `ACTIONS` to a case, whoever asks for it: a page or a bulk run.

    Returns what came of it: done, requested, or awaits approval. `seen_at` is `seen_at_of` the case as it was seen.
    Raises `Refused` and `UnknownDefinition`; nothing is changed then.
    """
    return ACTIONS[action].carry_out(
        case=case,
        operator=operator,
        origin=origin,
        reason=reason,
        reference=reference,
        seen_at=seen_at,
        outside=outside,
    )


def seen_at_of(case: Case) -> datetime | None:
    """Return the mark of a case's state: when its saga last changed, or its message died."""
    return case.saga.updated_at if case.saga is not None else services.dead_since(case)
