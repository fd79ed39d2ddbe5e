"""Inventory holds all lines of an order or none, once, and gives them back."""

import pytest
from django.db import DatabaseError, IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext
from uuid_utils.compat import uuid7

from inventory.contracts import (
    InventoryFailed,
    InventoryReleased,
    InventoryReserved,
    Line,
    ReleaseInventory,
    ReserveInventory,
)
from inventory.handlers import CONSUMER, release_inventory, reserve_inventory
from inventory.models import Reservation, Stock
from tests.factories.envelopes import envelope
from tests.factories.inventory import levels, release, reserve, stocked

pytestmark = pytest.mark.django_db


def test_all_lines_of_an_order_are_held() -> None:
    stocked("MUG", on_hand=10)
    stocked("PEN", on_hand=10)
    command = reserve(MUG=3, PEN=10)

    [outcome] = reserve_inventory([envelope(command)])

    assert outcome == InventoryReserved(order_id=command.order_id)
    assert (levels("MUG"), levels("PEN")) == ((7, 3), (0, 10))
    held = Reservation.objects.filter(order_id=command.order_id).order_by("sku")
    assert list(held.values_list("sku", "quantity", "status")) == [("MUG", 3, "held"), ("PEN", 10, "held")]


def test_lines_of_one_sku_are_added_up() -> None:
    stocked("MUG", on_hand=10)
    lines = (Line(sku="MUG", quantity=4), Line(sku="MUG", quantity=5))
    command = ReserveInventory(order_id=uuid7(), lines=lines)

    [outcome] = reserve_inventory([envelope(command)])

    assert outcome == InventoryReserved(order_id=command.order_id)
    assert levels("MUG") == (1, 9)


def test_an_order_that_is_short_of_one_sku_holds_nothing() -> None:
    stocked("MUG", on_hand=10)
    stocked("PEN", on_hand=1)
    command = reserve(MUG=3, PEN=2)

    [outcome] = reserve_inventory([envelope(command)])

    assert outcome == InventoryFailed(
        order_id=command.order_id, reason="out_of_stock", sku="PEN", detail="2 of PEN wanted, 1 left"
    )
    assert (levels("MUG"), levels("PEN")) == ((10, 0), (1, 0))
    assert not Reservation.objects.exists()


def test_an_unknown_sku_is_out_of_stock() -> None:
    command = reserve(NOPE=1)

    [outcome] = reserve_inventory([envelope(command)])

    assert outcome == InventoryFailed(
        order_id=command.order_id, reason="out_of_stock", sku="NOPE", detail="NOPE is not in stock here"
    )


def test_the_last_pieces_go_to_whoever_came_first() -> None:
    stocked("MUG", on_hand=5)
    commands = [reserve(MUG=3), reserve(MUG=3), reserve(MUG=2), reserve(MUG=1)]

    outcomes = reserve_inventory([envelope(command) for command in commands])

    kinds = [type(outcome) for outcome in outcomes]
    assert kinds == [InventoryReserved, InventoryFailed, InventoryReserved, InventoryFailed]
    assert levels("MUG") == (0, 5)


def test_an_order_delivered_twice_is_held_once_even_when_stock_has_run_out() -> None:
    stocked("MUG", on_hand=3)
    message = envelope(reserve(MUG=3))

    first = reserve_inventory([message])
    second = reserve_inventory([message, message])

    assert second == first * 2
    assert levels("MUG") == (0, 3)
    assert Reservation.objects.count() == 1


def test_release_gives_back_all_lines() -> None:
    stocked("MUG", on_hand=10)
    stocked("PEN", on_hand=10)
    command, other = reserve(MUG=3, PEN=4), reserve(MUG=1)
    reserve_inventory([envelope(command), envelope(other)])

    [outcome] = release_inventory([envelope(release(command))])

    assert outcome == InventoryReleased(order_id=command.order_id)
    assert (levels("MUG"), levels("PEN")) == ((9, 1), (10, 0))
    released = Reservation.objects.filter(order_id=command.order_id)
    assert released.filter(status="released", released_at__isnull=False).count() == 2


def test_release_delivered_twice_gives_back_once() -> None:
    stocked("MUG", on_hand=10)
    command = reserve(MUG=3)
    reserve_inventory([envelope(command)])
    message = envelope(release(command))

    first = release_inventory([message])
    second = release_inventory([message])

    assert first == second
    assert levels("MUG") == (10, 0)


def test_release_of_an_order_that_holds_nothing_succeeds() -> None:
    stocked("MUG", on_hand=10)
    command = ReleaseInventory(order_id=uuid7())

    [outcome] = release_inventory([envelope(command)])

    assert outcome == InventoryReleased(order_id=command.order_id)
    assert levels("MUG") == (10, 0)


def test_an_order_that_was_released_is_not_held_again() -> None:
    stocked("MUG", on_hand=10)
    command = reserve(MUG=3)
    reserve_inventory([envelope(command)])
    release_inventory([envelope(release(command))])

    [outcome] = reserve_inventory([envelope(command)])

    assert isinstance(outcome, InventoryFailed)
    assert outcome.reason == "released"
    assert levels("MUG") == (10, 0)


def test_a_large_order_and_an_empty_one_are_held() -> None:
    for number in range(100):
        stocked(f"SKU-{number}", on_hand=10_000)
    large = reserve(**{f"SKU-{number}": 10_000 for number in range(100)})
    empty = ReserveInventory(order_id=uuid7(), lines=())

    outcomes = reserve_inventory([envelope(large), envelope(empty)])

    assert [type(outcome) for outcome in outcomes] == [InventoryReserved, InventoryReserved]
    assert Stock.objects.filter(on_hand=0, reserved=10_000).count() == 100


def test_a_batch_costs_the_same_statements_however_large_it_is() -> None:
    for sku in ("MUG", "PEN", "TEA"):
        stocked(sku, on_hand=1_000)
    batch = [reserve(MUG=1, PEN=1, TEA=1) for _ in range(50)]

    with CaptureQueriesContext(connection) as reserving:
        reserve_inventory([envelope(command) for command in batch])
    with CaptureQueriesContext(connection) as releasing:
        release_inventory([envelope(release(command)) for command in batch])

    assert (len(reserving), len(releasing)) == (4, 3)
    locks = [query["sql"] for query in (*reserving, *releasing) if "inventory_stock" in query["sql"]]
    assert all("ORDER BY sku FOR UPDATE" in sql for sql in locks[::2])


def test_a_quantity_below_one_is_refused_by_the_database() -> None:
    stocked("MUG", on_hand=10)

    with pytest.raises(IntegrityError, match="inventory_stock_reserved_not_negative"):
        reserve_inventory([envelope(reserve(MUG=-1))])


@pytest.mark.parametrize(
    ("change", "constraint"),
    [
        ("UPDATE inventory_stock SET on_hand = -1, loaded = -1", "inventory_stock_on_hand_not_negative"),
        ("UPDATE inventory_stock SET reserved = -1, on_hand = 11", "inventory_stock_reserved_not_negative"),
        ("UPDATE inventory_stock SET on_hand = 9", "inventory_stock_adds_up"),
        (
            "INSERT INTO inventory_reservation VALUES (gen_random_uuid(), 'MUG', 0, 'held')",
            "inventory_reservation_quantity_positive",
        ),
        (
            "INSERT INTO inventory_reservation VALUES (gen_random_uuid(), 'MUG', 1, 'released')",
            "inventory_reservation_held_or_released",
        ),
        ("UPDATE inventory_product SET price = 0", "inventory_product_price_positive"),
        ("UPDATE inventory_product SET currency = 'eur'", "inventory_product_currency_code"),
    ],
)
def test_the_database_refuses_what_cannot_be(change: str, constraint: str) -> None:
    stocked("MUG", on_hand=10)

    with pytest.raises(DatabaseError, match=constraint), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(change)

    assert levels("MUG") == (10, 0)


def test_inventory_handles_its_commands() -> None:
    assert CONSUMER.name == "inventory"
    assert set(CONSUMER.handlers) == {ReserveInventory, ReleaseInventory}
