"""Which money is at risk: every stage of the shop's own sagas, and a row for somebody else's."""

from __future__ import annotations

import pytest

from desk.monitoring.exposures import (
    CHARGED_NOT_SHIPPED,
    EXPOSURES,
    REFUND_PENDING,
    RESERVED_NOT_RELEASED,
    START,
    UNDONE,
    Exposure,
    LiveSagas,
    kind_of,
    money_at_risk,
)
from sagas.definition import definitions

STEPS = ("reserve-inventory", "charge-payment", "create-shipment", "confirm-order")


def group(
    *statuses: str,
    saga: str = "order-fulfilment",
    steps: tuple[str, ...] = STEPS,
    turned: bool = False,
    settling: bool = False,
    currency: str = "EUR",
    amount: int = 100,
) -> LiveSagas:
    """Return sagas whose steps stand like this; a status after `~` is one of the compensation."""
    vector = {
        name: (status.lstrip("~"), "compensation" if status.startswith("~") else "action")
        for name, status in zip(steps, statuses, strict=False)
    }
    status = "COMPENSATING" if turned else "RUNNING"
    return LiveSagas(saga, 1, status, turned, settling, currency, vector, 1, amount)


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        (("RUNNING",), None),
        (("SUCCEEDED", "PENDING"), RESERVED_NOT_RELEASED),
        (("SUCCEEDED", "RUNNING"), RESERVED_NOT_RELEASED),
        (("SUCCEEDED", "SUCCEEDED", "RUNNING"), CHARGED_NOT_SHIPPED),
        (("SUCCEEDED", "RESOLVED", "PENDING"), CHARGED_NOT_SHIPPED),
        (("SUCCEEDED", "SKIPPED", "PENDING"), RESERVED_NOT_RELEASED),
        (("SUCCEEDED", "SUCCEEDED", "SUCCEEDED", "STUCK"), None),
        (("SUCCEEDED", "SUCCEEDED", "SKIPPED", "RUNNING"), None),
    ],
)
def test_an_order_that_goes_on(statuses: tuple[str, ...], expected: str | None) -> None:
    assert kind_of(group(*statuses)) == expected


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        (("FAILED",), None),
        (("~COMPENSATING", "FAILED"), RESERVED_NOT_RELEASED),
        (("~STUCK", "FAILED"), RESERVED_NOT_RELEASED),
        (("SUCCEEDED", "UNKNOWN"), REFUND_PENDING),
        (("SUCCEEDED", "SUCCEEDED", "FAILED"), REFUND_PENDING),
        (("SUCCEEDED", "~COMPENSATING", "FAILED"), REFUND_PENDING),
        (("SUCCEEDED", "~STUCK", "FAILED"), REFUND_PENDING),
        (("SUCCEEDED", "~COMPENSATED", "FAILED"), RESERVED_NOT_RELEASED),
        (("SUCCEEDED", "~RESOLVED", "FAILED"), RESERVED_NOT_RELEASED),
        (("~COMPENSATED", "~COMPENSATED", "FAILED"), None),
        (("~SKIPPED", "~SKIPPED", "FAILED"), None),
    ],
)
def test_an_order_that_turned_back(statuses: tuple[str, ...], expected: str | None) -> None:
    assert kind_of(group(*statuses, turned=True)) == expected


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        (("RUNNING",), REFUND_PENDING),
        (("STUCK",), REFUND_PENDING),
        (("SUCCEEDED", "RUNNING"), None),
        (("RESOLVED", "RUNNING"), None),
    ],
)
def test_an_order_that_comes_back(statuses: tuple[str, ...], expected: str | None) -> None:
    steps = ("refund-payment", "restock-inventory", "notify-customer")

    assert kind_of(group(*statuses, saga="order-return", steps=steps)) == expected


def test_what_has_only_begun_is_not_at_risk() -> None:
    assert kind_of(group("SUCCEEDED", "SUCCEEDED", "RUNNING", settling=True)) is None


def test_money_is_added_up_by_kind_and_currency() -> None:
    charged = ("SUCCEEDED", "SUCCEEDED", "RUNNING")
    groups = [
        group(*charged, amount=100),
        group(*charged, amount=50),
        group(*charged, amount=7, currency="JPY"),
        group("SUCCEEDED", "UNKNOWN", turned=True, amount=30),
        group(*charged, amount=0, currency=""),
    ]

    assert money_at_risk(groups) == {
        REFUND_PENDING: {"EUR": 30},
        CHARGED_NOT_SHIPPED: {"EUR": 150, "JPY": 7},
        RESERVED_NOT_RELEASED: {},
    }


def test_a_saga_of_ones_own_is_one_row_more() -> None:
    rows = (*EXPOSURES, Exposure("deposit_held", "rental", done="take-deposit", until="hand-over"))
    rental = group("SUCCEEDED", "RUNNING", saga="rental", steps=("take-deposit", "hand-over"))

    assert money_at_risk([rental], rows)["deposit_held"] == {"EUR": 100}
    assert kind_of(rental) is None


def test_the_table_names_steps_that_exist() -> None:
    known = {
        name: {step for d in definitions().values() if d.name == name for step in d.by_name}
        for name, _ in definitions()
    }
    named = {(row.saga, step) for row in EXPOSURES for step in (row.done, row.until)}

    assert [(saga, step) for saga, step in named if step not in {START, UNDONE, *known[saga]}] == []
