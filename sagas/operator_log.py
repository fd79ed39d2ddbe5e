"""The operator log: what people did, by one writer, in the transaction of the deed.

Whatever a person changes, at the desk or on the machine, ends in one line here, or it is not changed: the line is
written in the same transaction. A trigger refuses to change or to remove what was written.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sagas.models import OperatorAction


def write(
    *,
    operator: str,
    origin: str,
    action: str,
    key: UUID | None = None,
    saga_id: UUID | None = None,
    case_id: int | None = None,
    reason: str,
    seen: dict[str, Any],
    result: str,
    reference: str = "",
    approved_by: str = "",
) -> OperatorAction:
    """Write one line and return it. The caller's transaction.

    `seen` is the state before the action, as plain values. `key` is the order; None for what concerns no order.
    """
    return OperatorAction.objects.create(
        operator=operator,
        origin=origin,
        action=action,
        key=key,
        saga_id=saga_id,
        case_id=case_id,
        reason=reason,
        reference=reference,
        seen=seen,
        result=result,
        approved_by=approved_by,
    )


def write_all(*, lines: Sequence[OperatorAction]) -> None:
    """Write lines that a sweep has to say, with one statement. The caller's transaction."""
    OperatorAction.objects.bulk_create(lines)
