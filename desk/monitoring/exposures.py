"""Which money is at risk: a table that says between which steps of which saga a customer's money or goods hang.

A saga of your own is one row more here. Each live saga counts once, under the first row that fits, so that the kinds
can be added up.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from outbox.contracts import ACTION, COMPENSATION
from sagas.states import DONE, TO_UNDO, StepStatus

# Name of a step to its status and direction.
Vector: TypeAlias = Mapping[str, tuple[str, str]]

REFUND_PENDING = "refund_pending"
CHARGED_NOT_SHIPPED = "charged_not_shipped"
RESERVED_NOT_RELEASED = "reserved_not_released"

# From the beginning of the saga on.
START = ""
# Until the step itself has been undone: counts for sagas that turn back. Any other end counts for those that go on.
UNDONE = "~"
_NOT_YET = (StepStatus.PENDING.value, ACTION)


@dataclass(frozen=True, slots=True)
class Exposure:
    """Money of this kind hangs from when the step `done` is done until `until`, a later step or `UNDONE`, is."""

    kind: str
    saga: str
    done: str
    until: str


EXPOSURES = (
    Exposure(REFUND_PENDING, "order-fulfilment", done="charge-payment", until=UNDONE),
    Exposure(REFUND_PENDING, "order-return", done=START, until="refund-payment"),
    Exposure(CHARGED_NOT_SHIPPED, "order-fulfilment", done="charge-payment", until="create-shipment"),
    Exposure(RESERVED_NOT_RELEASED, "order-fulfilment", done="reserve-inventory", until=UNDONE),
    Exposure(RESERVED_NOT_RELEASED, "order-fulfilment", done="reserve-inventory", until="create-shipment"),
)


@dataclass(frozen=True, slots=True)
class LiveSagas:
    """Live sagas that stand alike; `amount` is their sum in minor units.

    `is_settling` while they are so young, and so far from stuck, that nobody needs to care yet.
    """

    saga: str
    version: int
    status: str
    is_turning_back: bool
    is_settling: bool
    currency: str
    steps: Vector
    sagas: int
    amount: int


def kind_of(group: LiveSagas, exposures: Iterable[Exposure] = EXPOSURES) -> str | None:
    """Return which kind of risk these sagas are, or None when nothing hangs."""
    if group.is_settling:
        return None
    return next((row.kind for row in exposures if row.saga == group.saga and _hangs(row, group)), None)


def money_at_risk(groups: Iterable[LiveSagas], exposures: Iterable[Exposure] = EXPOSURES) -> dict[str, dict[str, int]]:
    """Return what is at risk by kind and currency, in minor units; every kind is named, also when nothing hangs."""
    rows = tuple(exposures)
    sums: dict[str, dict[str, int]] = {row.kind: {} for row in rows}
    for group in groups:
        kind = kind_of(group, rows)
        if kind is not None and group.currency:
            sums[kind][group.currency] = sums[kind].get(group.currency, 0) + group.amount
    return sums


def _hangs(row: Exposure, group: LiveSagas) -> bool:
    if group.is_turning_back != (row.until == UNDONE):
        return False
    if row.until == UNDONE:
        return _is_to_undo(group.steps, row.done)
    return _has_effect(group.steps, row.done) and group.steps.get(row.until, _NOT_YET)[0] not in DONE


def _has_effect(steps: Vector, name: str) -> bool:
    """Whether a step of a saga that goes on has done what it is for; one that was skipped has not."""
    return name == START or steps.get(name, _NOT_YET)[0] in (StepStatus.SUCCEEDED, StepStatus.RESOLVED)


def _is_to_undo(steps: Vector, name: str) -> bool:
    """Whether the step may have had its effect and has not been undone; one that timed out may have had it."""
    status, direction = steps.get(name, _NOT_YET)
    if direction == COMPENSATION:
        return status in (StepStatus.COMPENSATING, StepStatus.STUCK)
    return status in TO_UNDO
