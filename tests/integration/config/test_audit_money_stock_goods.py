"""I1 to I3: one thing is wrong in the books, and exactly that is found, with its order."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from uuid_utils.compat import uuid7

from config.audit import audit
from tests.audited import Books, books, found, line, money
from tests.messaging import execute

__all__ = ["books"]
pytestmark = pytest.mark.django_db(transaction=True)

KEEPS = "the bank keeps the total of a confirmed order and nothing of another"
ONE_PARCEL = "one live shipment for an order that was confirmed, none for a cancelled one"
Offence = tuple[str, str, str]


def charged_twice(books: Books) -> list[Offence]:
    order = str(books.confirmed)
    books.bank += [money("charge", "second", order, 2500), money("refund", "again", order, 2500)]
    return [
        ("I1", "every charge at the bank is in payments", order),
        ("I1", "every refund at the bank is in payments", order),
        ("I1", "no order is charged twice", order),
    ]


def charged_for_nobody(books: Books) -> list[Offence]:
    books.bank.append(money("charge", "stray", stranger := str(uuid7()), 100))
    return [("I1", "every charge belongs to an order", stranger)]


def charged_for_what_is_no_order(books: Books) -> list[Offence]:
    books.bank.append(money("charge", "stray", "not-an-id", 100))
    return [("I1", "every charge belongs to an order", "not-an-id")]


def money_kept_of_a_cancelled_order(books: Books) -> list[Offence]:
    books.bank.remove(books.entry(books.bank, books.cancelled, "refund"))
    order = str(books.cancelled)
    return [("I1", "every refund in payments is at the bank", order), ("I1", KEEPS, order)]


def charged_too_much(books: Books) -> list[Offence]:
    books.entry(books.bank, books.confirmed, "charge")["amount"] += 1
    order = str(books.confirmed)
    return [("I1", "every charge at the bank is in payments", order), ("I1", KEEPS, order)]


def charged_in_another_currency(books: Books) -> list[Offence]:
    books.entry(books.bank, books.confirmed, "charge")["currency"] = "USD"
    return [("I1", "bank and payments use the order's currency", str(books.confirmed))]


def charge_lost_by_the_bank(books: Books) -> list[Offence]:
    books.bank.remove(books.entry(books.bank, books.confirmed, "charge"))
    order = str(books.confirmed)
    return [
        ("I1", "every charge in payments is at the bank", order),
        ("I1", KEEPS, order),
        ("I3", "a live shipment only for a charged order", order),
    ]


def payments_that_disagree(books: Books) -> list[Offence]:
    execute("UPDATE payments_payment SET amount = amount - 1 WHERE order_id = %s", books.confirmed)
    order = str(books.confirmed)
    return [("I1", "every charge at the bank is in payments", order), ("I1", "payments agrees with the order", order)]


def payment_for_nobody(books: Books) -> list[Offence]:
    stranger = uuid7()
    execute(
        "INSERT INTO payments_payment (key, order_id, amount, currency, status, gateway, code) "
        "VALUES ('stray', %s, 1, 'EUR', 'declined', 'simulated', 'no')",
        stranger,
    )
    return [("I1", "every payment belongs to an order", str(stranger))]


def refund_of_a_charge_that_is_kept(books: Books) -> list[Offence]:
    execute("UPDATE payments_payment SET status = 'void' WHERE order_id = %s", books.returned)
    order = str(books.returned)
    return [
        ("I1", "every charge at the bank is in payments", order),
        ("I1", "every refund is of a charge that is given back", order),
        ("I5", "what was said is so", order),
    ]


def unknown_for_ever(books: Books) -> list[Offence]:
    execute(
        "INSERT INTO payments_payment (key, order_id, amount, currency, status, gateway, updated_at) "
        "VALUES ('lost', %s, 1, 'EUR', 'unknown', 'simulated', now() - interval '1 hour')",
        books.cancelled,
    )
    return [("I1", "no charge stays unknown", str(books.cancelled))]


def stock_that_went_astray(_: Books) -> list[Offence]:
    execute("ALTER TABLE inventory_stock DROP CONSTRAINT inventory_stock_adds_up")
    execute("UPDATE inventory_stock SET on_hand = on_hand - 1")
    return [("I2", "on hand and reserved make what was loaded", "MUG")]


def reserved_for_nothing(_: Books) -> list[Offence]:
    execute("UPDATE inventory_stock SET on_hand = on_hand - 1, reserved = reserved + 1")
    return [("I2", "what is reserved is held for orders", "MUG")]


def held_for_a_cancelled_order(books: Books) -> list[Offence]:
    execute("UPDATE inventory_reservation SET status = 'held', released_at = NULL WHERE order_id = %s", books.cancelled)
    execute("UPDATE inventory_stock SET on_hand = on_hand - 5, reserved = reserved + 5")
    order = str(books.cancelled)
    return [
        ("I2", "stock is held only for running and confirmed orders", order),
        ("I5", "what was said is so", order),
    ]


def held_for_nobody(_: Books) -> list[Offence]:
    stranger = uuid7()
    execute("INSERT INTO inventory_reservation (order_id, sku, quantity) VALUES (%s, 'MUG', 1)", stranger)
    execute("UPDATE inventory_stock SET on_hand = on_hand - 1, reserved = reserved + 1")
    key = str(stranger)
    return [("I2", "every reservation belongs to an order", key), ("I5", "every reservation was said", key)]


def line_that_is_not_held(books: Books) -> list[Offence]:
    execute("UPDATE inventory_reservation SET quantity = 1 WHERE order_id = %s", books.confirmed)
    execute("UPDATE inventory_stock SET on_hand = on_hand + 1, reserved = reserved - 1")
    return [("I2", "a confirmed order holds its lines", str(books.confirmed))]


def parcel_for_a_cancelled_order(books: Books) -> list[Offence]:
    books.carrier.append(line("shipment", "stray", books.cancelled))
    order = str(books.cancelled)
    return [("I3", "every live shipment at the carrier is in shipping", order), ("I3", ONE_PARCEL, order)]


def no_parcel_for_a_returned_order(books: Books) -> list[Offence]:
    sent = books.entry(books.carrier, books.returned, "shipment")
    books.carrier.append(line("cancellation", sent["key"], books.returned))
    order = str(books.returned)
    return [("I3", "every live shipment in shipping is at the carrier", order), ("I3", ONE_PARCEL, order)]


def parcel_for_nobody(books: Books) -> list[Offence]:
    books.carrier.append(line("shipment", "stray", stranger := str(uuid7())))
    return [("I3", "every live shipment belongs to an order", stranger)]


def shipping_that_disagrees(books: Books) -> list[Offence]:
    execute("UPDATE shipping_shipment SET status = 'cancelled' WHERE order_id = %s", books.confirmed)
    order = str(books.confirmed)
    return [
        ("I3", "every live shipment at the carrier is in shipping", order),
        ("I3", "shipping agrees with the order", order),
        ("I5", "every shipment was said", order),
    ]


def shipment_for_nobody(_: Books) -> list[Offence]:
    stranger = uuid7()
    execute(
        "INSERT INTO shipping_shipment (key, order_id, status, carrier, address) "
        "VALUES ('stray', %s, 'refused', 'simulated', '{}')",
        stranger,
    )
    return [("I3", "every shipment belongs to an order", str(stranger))]


def parcel_unknown_for_ever(books: Books) -> list[Offence]:
    execute(
        "INSERT INTO shipping_shipment (key, order_id, status, carrier, address, updated_at) "
        "VALUES ('lost', %s, 'unknown', 'simulated', '{}', now() - interval '1 hour')",
        books.cancelled,
    )
    return [("I3", "no shipment stays unknown", str(books.cancelled))]


OFFENCES = [
    charged_twice,
    charged_for_nobody,
    charged_for_what_is_no_order,
    money_kept_of_a_cancelled_order,
    charged_too_much,
    charged_in_another_currency,
    charge_lost_by_the_bank,
    payments_that_disagree,
    payment_for_nobody,
    refund_of_a_charge_that_is_kept,
    unknown_for_ever,
    stock_that_went_astray,
    reserved_for_nothing,
    held_for_a_cancelled_order,
    held_for_nobody,
    line_that_is_not_held,
    parcel_for_a_cancelled_order,
    no_parcel_for_a_returned_order,
    parcel_for_nobody,
    shipping_that_disagrees,
    shipment_for_nobody,
    parcel_unknown_for_ever,
]


@pytest.mark.parametrize("commit", OFFENCES, ids=lambda offence: offence.__name__)
def test_what_is_wrong_is_found_and_nothing_else(books: Books, commit: Callable[[Books], list[Offence]]) -> None:
    try:
        expected = commit(books)

        assert found(audit()) == sorted(expected)
    finally:
        execute("ALTER TABLE inventory_stock DROP CONSTRAINT IF EXISTS inventory_stock_adds_up")
        execute("UPDATE inventory_stock SET loaded = on_hand + reserved")
        execute(
            "ALTER TABLE inventory_stock ADD CONSTRAINT inventory_stock_adds_up CHECK (loaded = on_hand + reserved)"
        )


def test_a_late_charge_is_left_to_reconciliation(books: Books) -> None:
    late = money("charge", "late", books.cancelled, 6250) | {"at": datetime.now(UTC).isoformat()}
    books.bank.remove(books.entry(books.bank, books.cancelled, "charge"))
    books.bank.remove(books.entry(books.bank, books.cancelled, "refund"))
    execute("DELETE FROM payments_refund WHERE order_id = %s", books.cancelled)
    execute("UPDATE payments_payment SET status = 'void' WHERE order_id = %s", books.cancelled)
    books.say_nothing(books.cancelled, "payment.charged")
    execute("UPDATE sagas_sagainstance SET steps = jsonb_set(steps, '{charge-payment,status}', '\"COMPENSATED\"')")
    books.bank.append(late)

    findings = found(audit())

    assert [finding for finding in findings if finding[0] == "I1"] == []


def test_what_a_person_has_in_hand_is_no_finding(books: Books) -> None:
    money_kept_of_a_cancelled_order(books)
    execute(
        "INSERT INTO sagas_case (key, step, direction, destination, error_class, error, fingerprint, attempts, status, "
        "owner, due_at, resolution, reason, reference) VALUES (%s, '', '', 'payments', 'Mismatch', '', '', 0, 'OPEN', "
        "'on-call', now(), '', '', '')",
        books.cancelled,
    )

    assert found(audit()) == []


def test_an_order_that_changed_after_the_ledgers_were_read_is_left_for_later(books: Books) -> None:
    money_kept_of_a_cancelled_order(books)
    execute("UPDATE orders_order SET updated_at = now() + interval '1 second' WHERE id = %s", books.cancelled)

    assert found(audit()) == []
