"""The oracle sees each kind of wrong, names whom it concerns, and has nothing to say when all is well."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bench.chaos.books import Booked, Books, Ledgers, Shelf
from bench.chaos.clients import Log
from bench.chaos.oracle import Verdict, judge

CONFIRMED = Booked(
    id="a",
    status="CONFIRMED",
    amount=500,
    items={"MUG": 2},
    held={"MUG": 2},
    needs_person=False,
    failed=False,
    seconds=1,
)
CANCELLED = Booked(
    id="b", status="CANCELLED", amount=250, items={"MUG": 1}, held={}, needs_person=False, failed=True, seconds=2
)
RETURNED = replace(CANCELLED, id="c", status="RETURNED")
MONEY = [
    {"kind": "charge", "order_id": "a", "amount": 500},
    {"kind": "charge", "order_id": "c", "amount": 250},
    {"kind": "refund", "order_id": "c", "amount": 250},
]
PARCELS = [{"kind": "shipment", "order_id": "a"}, {"kind": "shipment", "order_id": "c"}]
SHELF = Shelf(sku="MUG", on_hand=8, loaded=10)


def verdict(
    *orders: Booked,
    money: list[dict[str, Any]] = MONEY,
    parcels: list[dict[str, Any]] = PARCELS,
    shelf: Shelf = SHELF,
    **accepted: set[str],
) -> Verdict:
    log = Log()
    log.accepted.update(accepted or {order.id: {order.id} for order in orders})
    books = Books(orders=orders or (CONFIRMED, CANCELLED, RETURNED), shelves=[shelf])
    return judge(books=books, ledgers=Ledgers(bank=money, carrier=parcels), log=log)


def test_nothing_is_wrong_when_all_is_well() -> None:
    assert verdict().all_wrong == set()


@pytest.mark.parametrize(
    ("order", "complaint"),
    [
        (replace(CONFIRMED, amount=499), "CONFIRMED, the bank keeps 500 instead of 499"),
        (replace(CONFIRMED, held={"MUG": 1}), "CONFIRMED, ordered {'MUG': 2}, held {'MUG': 1}"),
    ],
)
def test_a_confirmed_order_is_paid_and_held_in_full(order: Booked, complaint: str) -> None:
    found = verdict(order, CANCELLED, RETURNED)

    assert found.wrong["a"] == [complaint]


def test_a_cancelled_order_costs_nothing_and_sends_nothing() -> None:
    found = verdict(
        CONFIRMED,
        CANCELLED,
        RETURNED,
        money=[*MONEY, {"kind": "charge", "order_id": "b", "amount": 250}],
        parcels=[*PARCELS, {"kind": "shipment", "order_id": "b"}],
    )

    assert found.wrong == {"b": ["CANCELLED, the bank keeps 250 instead of 0", "CANCELLED, 1 parcels go out"]}


def test_a_parcel_that_was_stopped_does_not_go_out() -> None:
    stopped = [{"kind": kind, "order_id": "b"} for kind in ("shipment", "cancellation")]

    assert verdict(CONFIRMED, CANCELLED, RETURNED, parcels=[*PARCELS, *stopped]).all_wrong == set()


def test_two_charges_are_told_even_when_one_was_given_back() -> None:
    again = [{"kind": kind, "order_id": "a", "amount": 500} for kind in ("charge", "refund")]

    found = verdict(money=[*MONEY, *again])

    assert (found.double_charges, found.wrong) == (["a"], {})


def test_what_a_person_works_on_is_neither_wrong_nor_stuck() -> None:
    waiting = replace(CANCELLED, status="CANCELLING", needs_person=True)
    money = [*MONEY, {"kind": "charge", "order_id": "b", "amount": 250}]

    assert verdict(CONFIRMED, waiting, RETURNED, money=money).all_wrong == set()
    assert verdict(CONFIRMED, replace(waiting, needs_person=False), RETURNED, money=money).stuck == ["b"]


def test_who_was_promised_an_order_that_does_not_exist_is_told() -> None:
    found = verdict(key={"gone"})

    assert found.lost == ["gone"]


def test_one_key_makes_one_order() -> None:
    found = verdict(CONFIRMED, CANCELLED, RETURNED, key={"a", "b"})

    assert found.wrong == {"key": ["one key made 2 orders: a, b"]}


def test_money_and_parcels_of_nobody_are_told() -> None:
    found = verdict(
        money=[*MONEY, {"kind": "charge", "order_id": "x", "amount": 1}],
        parcels=[*PARCELS, {"kind": "shipment", "order_id": "x"}],
    )

    assert len(found.wrong["x"]) == 2


def test_more_sold_than_loaded_is_counted_in_pieces() -> None:
    found = verdict(shelf=Shelf(sku="MUG", on_hand=-1, loaded=1))

    assert found.oversold == {"MUG": 1}


def test_pieces_that_are_nowhere_are_told() -> None:
    found = verdict(shelf=replace(SHELF, on_hand=7))

    assert found.wrong == {"MUG": ["7 on hand and 2 held are not the 10 loaded"]}
