"""The sagas of the shop with less patience: what has no answer after a minute is a case, not after an hour."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from sagas.definition import Step
from sagas.definitions import order_fulfilment, order_return

# Longer than five tries of a refund that is refused take on a busy machine.
COMPENSATION_DEADLINE = timedelta(seconds=60)


def _hurried(step: object) -> Step:
    assert isinstance(step, Step)
    return replace(step, compensation_deadline=COMPENSATION_DEADLINE)


ORDER_FULFILMENT = replace(
    order_fulfilment.ORDER_FULFILMENT, steps=tuple(map(_hurried, order_fulfilment.ORDER_FULFILMENT.steps))
)
ORDER_RETURN = order_return.ORDER_RETURN
