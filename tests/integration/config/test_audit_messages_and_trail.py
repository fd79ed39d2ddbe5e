"""I4 to I7: one thing is wrong with an end, a message, an answer or the trail, and exactly that is found."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from uuid_utils.compat import uuid7

from config.audit import audit
from outbox.models import Message
from tests.audited import Books, books, found
from tests.messaging import execute

__all__ = ["books"]
pytestmark = pytest.mark.django_db(transaction=True)

Offence = tuple[str, str, str]


def deliver_again(books: Books, wire_type: str, destination: str, **columns: str) -> None:
    """Put a delivery of what was said of the confirmed order back into the queue."""
    changes = {"available_at": "now()"} | columns
    execute(
        f"INSERT INTO outbox_delivery (message_id, message_time, destination, lane, kind, type, ordering_key, "
        f"{', '.join(changes)}) SELECT id, time, %s, 'relay', kind, type, ordering_key, {', '.join(changes.values())} "
        "FROM outbox_message WHERE ordering_key = %s AND type = %s",
        destination,
        books.confirmed,
        wire_type,
    )


# --- I4 ---


def saga_that_nobody_looks_after(books: Books) -> list[Offence]:
    execute(
        "UPDATE sagas_sagainstance SET status = 'RUNNING', ended_at = NULL, due_at = NULL WHERE key = %s",
        books.confirmed,
    )
    return [("I4", "no saga is forgotten", str(books.confirmed))]


def saga_that_waits_for_nobody(books: Books) -> list[Offence]:
    execute("UPDATE sagas_sagainstance SET status = 'SUSPENDED', ended_at = NULL WHERE key = %s", books.confirmed)
    return [("I4", "no saga is forgotten", str(books.confirmed))]


def order_without_a_saga(books: Books) -> list[Offence]:
    execute("DELETE FROM sagas_sagainstance WHERE key = %s", books.confirmed)
    execute("UPDATE orders_order SET status = 'PENDING' WHERE id = %s", books.confirmed)
    order = str(books.confirmed)
    return [
        ("I4", "no order is forgotten", order),
        ("I5", "every beginning has begun its saga", order),
        ("I5", "what was said is so", order),
    ]


def end_with_a_step_in_flight(books: Books) -> list[Offence]:
    steps = books.saga(books.confirmed).steps
    steps["create-shipment"]["status"] = "RUNNING"
    type(books.saga(books.confirmed)).objects.filter(key=books.confirmed).update(steps=steps)
    return [("I4", "a saga that has ended leaves nothing behind", str(books.confirmed))]


def end_with_a_step_not_undone(books: Books) -> list[Offence]:
    steps = books.saga(books.cancelled).steps
    steps["charge-payment"] = {"status": "SUCCEEDED"}
    type(books.saga(books.cancelled)).objects.filter(key=books.cancelled).update(steps=steps)
    return [("I4", "a saga that has ended leaves nothing behind", str(books.cancelled))]


def end_without_a_time(books: Books) -> list[Offence]:
    execute("UPDATE sagas_sagainstance SET ended_at = NULL WHERE key = %s", books.confirmed)
    return [("I4", "an end has its time", str(books.confirmed))]


# --- I5 ---


def order_never_told_of(books: Books) -> list[Offence]:
    books.say_nothing(books.confirmed, "order.created")
    return [("I5", "every change of an order was said", str(books.confirmed))]


def confirmation_never_told_of(books: Books) -> list[Offence]:
    books.say_nothing(books.confirmed, "order.confirmed")
    order = str(books.confirmed)
    return [
        ("I5", "each consumer's rows are what it has handled", order),
        ("I5", "every change of an order was said", order),
        ("I7", "every step that succeeded has its reply in the log", order),
    ]


def reservation_never_told_of(books: Books) -> list[Offence]:
    books.say_nothing(books.confirmed, "inventory.reserved")
    order = str(books.confirmed)
    return [
        ("I5", "every reservation was said", order),
        ("I7", "every step that succeeded has its reply in the log", order),
    ]


def payment_never_told_of(books: Books) -> list[Offence]:
    books.say_nothing(books.confirmed, "payment.charged")
    order = str(books.confirmed)
    return [
        ("I5", "every payment was said", order),
        ("I7", "every step that succeeded has its reply in the log", order),
    ]


def shipment_never_told_of(books: Books) -> list[Offence]:
    books.say_nothing(books.confirmed, "shipment.created")
    order = str(books.confirmed)
    return [
        ("I5", "every shipment was said", order),
        ("I7", "every step that succeeded has its reply in the log", order),
    ]


def order_told_of_and_not_there(books: Books) -> list[Offence]:
    execute("UPDATE orders_order SET status = 'CANCELLED', reason = 'lost' WHERE id = %s", books.returned)
    return [
        (invariant, says, str(books.returned))
        for invariant, says in (
            ("I3", "one live shipment for an order that was confirmed, none for a cancelled one"),
            ("I3", "shipping agrees with the order"),
            ("I5", "every change of an order was said"),
            ("I5", "what was said is so"),
            ("I6", "a returned order has its return"),
            ("I6", "an order's status agrees with its saga"),
        )
    ]


def event_that_never_arrived(books: Books) -> list[Offence]:
    said = Message.objects.get(ordering_key=books.returned, type="order.confirmed")
    execute("DELETE FROM outbox_inbox WHERE consumer = 'notifications' AND message_id = %s", said.pk)
    execute("DELETE FROM notifications_email WHERE message_id = %s", said.pk)
    return [("I5", "every message waits or was handled", str(books.returned))]


def command_that_never_arrived(books: Books) -> list[Offence]:
    execute("DELETE FROM outbox_barrier WHERE saga_id = %s AND step = 'charge-payment'", books.saga(books.confirmed).pk)
    return [("I5", "every message waits or was handled", str(books.confirmed))]


def reply_that_nobody_heard(books: Books) -> list[Offence]:
    saga = books.saga(books.confirmed)
    saga.steps["confirm-order"]["status"] = "RUNNING"
    type(saga).objects.filter(pk=saga.pk).update(steps=saga.steps)
    execute(
        "UPDATE sagas_sagainstance SET status = 'RUNNING', ended_at = NULL, due_at = now() + interval '1 hour' "
        "WHERE id = %s",
        saga.pk,
    )
    return [("I5", "every reply was heard by its saga", str(books.confirmed))]


def dead_letter_without_a_case(books: Books) -> list[Offence]:
    past = "now() - interval '1 hour'"
    deliver_again(books, "order.confirmed", "sagas", dead_at=past, available_at="'9999-01-01'", error="'no'")
    return [("I5", "every dead letter has a case", str(books.confirmed))]


def due_since_long(books: Books) -> list[Offence]:
    deliver_again(books, "order.confirmed", "sagas", available_at="now() - interval '1 hour'")
    return [("I5", "nothing is due for too long, or never", str(books.confirmed))]


def due_never(books: Books) -> list[Offence]:
    deliver_again(books, "order.confirmed", "sagas", available_at="now() + interval '1 year'")
    return [("I5", "nothing is due for too long, or never", str(books.confirmed))]


def heard_in_disorder(books: Books) -> list[Offence]:
    said = Message.objects.get(ordering_key=books.confirmed, type="order.created")
    execute(
        "UPDATE outbox_inbox SET at = at + interval '1 minute' WHERE consumer = 'analytics' AND message_id = %s",
        said.pk,
    )
    return [("I5", "each consumer has heard of an order in order", str(books.confirmed))]


def place_that_stays_open(books: Books) -> list[Offence]:
    execute(
        "UPDATE outbox_barrier SET settled = FALSE WHERE saga_id = %s AND step = 'charge-payment'",
        books.saga(books.confirmed).pk,
    )
    return [("I5", "no place at the barrier stays open", str(books.confirmed))]


def letter_without_a_cause(books: Books) -> list[Offence]:
    execute(
        "INSERT INTO notifications_email (message_id, order_id, event) VALUES (%s, %s, 'order.confirmed')",
        uuid7(),
        books.confirmed,
    )
    return [("I5", "each consumer's rows are what it has handled", str(books.confirmed))]


def order_counted_as_something_else(books: Books) -> list[Offence]:
    execute("UPDATE analytics_orderfact SET outcome = 'created' WHERE order_id = %s", books.confirmed)
    return [
        ("I5", "each consumer's rows are what it has handled", str(books.confirmed)),
        ("I5", "each order is counted once per outcome", "confirmed EUR"),
    ]


def order_counted_twice(_: Books) -> list[Offence]:
    execute("UPDATE analytics_ordersperday SET orders = orders + 1 WHERE outcome = 'cancelled'")
    return [("I5", "each order is counted once per outcome", "cancelled EUR")]


# --- I6 ---


def told_of_an_order_that_is_not_there(books: Books) -> list[Offence]:
    stranger = str(uuid7())
    execute(
        "UPDATE outbox_idempotencykey SET location = replace(location, %s, %s) WHERE location LIKE %s",
        str(books.confirmed),
        stranger,
        f"%{books.confirmed}",
    )
    return [("I6", "whoever was told 202 finds the order", stranger)]


def told_another_customer(books: Books) -> list[Offence]:
    execute("UPDATE outbox_idempotencykey SET customer_id = -1 WHERE location LIKE %s", f"%{books.confirmed}")
    return [("I6", "whoever was told 202 finds the order", str(books.confirmed))]


def told_another_sum(books: Books) -> list[Offence]:
    execute(
        "UPDATE outbox_idempotencykey SET body = convert_to(replace(convert_from(body, 'UTF8'), "
        '\'"amount":"25.00"\', \'"amount":"24.00"\'), \'UTF8\') WHERE location LIKE %s',
        f"%{books.confirmed}",
    )
    return [("I6", "the order is what its customer was told", str(books.confirmed))]


def one_order_under_two_keys(books: Books) -> list[Offence]:
    execute(
        "INSERT INTO outbox_idempotencykey "
        "(customer_id, endpoint, key, fingerprint, status, location, content_type, body, expires_at) "
        "SELECT customer_id, endpoint, 'another', fingerprint, status, location, content_type, body, expires_at "
        "FROM outbox_idempotencykey WHERE location LIKE %s",
        f"%{books.confirmed}",
    )
    return [("I6", "one key makes one order", str(books.confirmed))]


def lines_that_cost_something_else(books: Books) -> list[Offence]:
    execute("UPDATE orders_orderline SET unit_price = unit_price + 1 WHERE order_id = %s", books.confirmed)
    return [("I6", "an order costs what its lines cost", str(books.confirmed))]


def cancelled_for_another_reason(books: Books) -> list[Offence]:
    execute("UPDATE orders_order SET reason = 'out_of_stock' WHERE id = %s", books.cancelled)
    return [("I6", "an order's status agrees with its saga", str(books.cancelled))]


def returned_by_nobody(books: Books) -> list[Offence]:
    execute("DELETE FROM sagas_sagainstance WHERE key = %s AND name = 'order-return'", books.returned)
    order = str(books.returned)
    return [("I5", "every beginning has begun its saga", order), ("I6", "a returned order has its return", order)]


# --- I7 ---


def step_without_a_command(books: Books) -> list[Offence]:
    books.say_nothing(books.confirmed, "inventory.reserve")
    return [("I7", "every step that began has its command in the log", str(books.confirmed))]


def step_skipped_by_nobody(books: Books) -> list[Offence]:
    steps = books.saga(books.confirmed).steps
    steps["create-shipment"]["status"] = "SKIPPED"
    type(books.saga(books.confirmed)).objects.filter(key=books.confirmed).update(steps=steps)
    return [("I7", "what a person decided is in the operator log", str(books.confirmed))]


def saga_abandoned_by_nobody(books: Books) -> list[Offence]:
    execute("UPDATE sagas_sagainstance SET status = 'ABANDONED' WHERE key = %s", books.confirmed)
    order = str(books.confirmed)
    return [
        ("I6", "an order's status agrees with its saga", order),
        ("I7", "what a person decided is in the operator log", order),
    ]


def turned_back_by_nobody(books: Books) -> list[Offence]:
    execute("UPDATE sagas_sagainstance SET reason = 'cancelled_by_operator' WHERE key = %s", books.cancelled)
    execute("UPDATE orders_order SET reason = 'cancelled_by_operator' WHERE id = %s", books.cancelled)
    return [("I7", "what a person decided is in the operator log", str(books.cancelled))]


def case_closed_by_nobody(books: Books) -> list[Offence]:
    execute(
        "INSERT INTO sagas_case (key, step, direction, destination, error_class, error, fingerprint, attempts, status, "
        "owner, due_at, closed_at, resolution, reason, reference) VALUES (%s, '', '', 'payments', 'X', '', '', 0, "
        "'CLOSED', 'on-call', now(), now(), 'retried', '', '')",
        books.confirmed,
    )
    return [("I7", "every case that a person closed is in the operator log", str(books.confirmed))]


def failure_without_an_attempt(books: Books) -> list[Offence]:
    deliver_again(books, "order.confirmed", "sagas", attempts="1", error_class="'KeyError'")
    return [("I7", "every failed attempt is in the log of attempts", str(books.confirmed))]


def log_that_can_be_changed(_: Books) -> list[Offence]:
    execute("ALTER TABLE sagas_operatoraction ENABLE TRIGGER sagas_append_only")
    return [("I7", "the logs are append-only", "sagas_operatoraction")]


def log_that_can_be_emptied(_: Books) -> list[Offence]:
    execute("ALTER TABLE outbox_message_default DISABLE TRIGGER outbox_no_truncate")
    return [("I7", "the logs are append-only", "outbox_message_default")]


OFFENCES = [
    saga_that_nobody_looks_after,
    saga_that_waits_for_nobody,
    order_without_a_saga,
    end_with_a_step_in_flight,
    end_with_a_step_not_undone,
    end_without_a_time,
    order_never_told_of,
    confirmation_never_told_of,
    reservation_never_told_of,
    payment_never_told_of,
    shipment_never_told_of,
    order_told_of_and_not_there,
    event_that_never_arrived,
    command_that_never_arrived,
    reply_that_nobody_heard,
    dead_letter_without_a_case,
    due_since_long,
    due_never,
    heard_in_disorder,
    place_that_stays_open,
    letter_without_a_cause,
    order_counted_as_something_else,
    order_counted_twice,
    told_of_an_order_that_is_not_there,
    told_another_customer,
    told_another_sum,
    one_order_under_two_keys,
    lines_that_cost_something_else,
    cancelled_for_another_reason,
    returned_by_nobody,
    step_without_a_command,
    step_skipped_by_nobody,
    saga_abandoned_by_nobody,
    turned_back_by_nobody,
    case_closed_by_nobody,
    failure_without_an_attempt,
    log_that_can_be_changed,
    log_that_can_be_emptied,
]


@pytest.mark.parametrize("commit", OFFENCES, ids=lambda offence: offence.__name__)
def test_what_is_wrong_is_found_and_nothing_else(books: Books, commit: Callable[[Books], list[Offence]]) -> None:
    try:
        expected = commit(books)

        assert found(audit()) == sorted(expected)
    finally:
        execute("ALTER TABLE sagas_operatoraction ENABLE ALWAYS TRIGGER sagas_append_only")
        execute("ALTER TABLE outbox_message_default ENABLE ALWAYS TRIGGER outbox_no_truncate")
