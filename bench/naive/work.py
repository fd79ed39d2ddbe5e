"""The naive shop's tasks: reserve, charge, ship, confirm; each commits and then queues the next."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

import httpx
import psycopg
from celery import Celery

from bench.naive.tables import transaction

_TIMEOUT_SECONDS = 1.0
_RETRIES = 4
_ADDRESS = {"name": "Ada", "line1": "1 Way", "city": "Berlin", "postal_code": "10115", "country": "DE"}
_REFUSALS = (HTTPStatus.PAYMENT_REQUIRED, HTTPStatus.UNPROCESSABLE_ENTITY)

app = Celery("naive", broker=os.environ.get("REDIS_URL", "redis://"))
# What the manual advises for work that must not get lost: acknowledge after the work, take back what a dead worker
# held, hold no more than is worked on. An hour is usual for the visibility timeout; this one is kind.
app.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=1,
    task_ignore_result=True,
    broker_connection_retry_on_startup=True,
    broker_transport_options={"visibility_timeout": 15, "socket_timeout": 5, "socket_connect_timeout": 2},
    task_publish_retry_policy={"max_retries": 3, "interval_start": 0.1, "interval_step": 0.2, "interval_max": 0.5},
)


class OutOfStock(Exception):
    """A product is not there in the quantity that is wanted."""


def _task(work: Callable[[str], None]) -> Any:
    """Make a task that is tried again with growing pauses, and turns its order back when all tries are spent."""

    def run(task: Any, order_id: str) -> None:
        try:
            work(order_id)
        except (psycopg.OperationalError, httpx.HTTPError) as error:
            if task.request.retries == _RETRIES:
                _turn_back(order_id, "given_up")
                raise
            raise task.retry(exc=error, countdown=2**task.request.retries, max_retries=_RETRIES) from error

    return app.task(name=f"{__name__}.{work.__name__}", bind=True)(run)


@_task
def reserve(order_id: str) -> None:
    """Take all pieces off the shelf, or turn the order back."""
    try:
        with transaction() as connection:
            if not _is_pending(connection, order_id):
                return
            _take_from_shelf(connection, order_id)
    except OutOfStock:
        _turn_back(order_id, "out_of_stock")
    else:
        charge.delay(order_id)


@_task
def charge(order_id: str) -> None:
    """Charge the card, or turn the order back."""
    with transaction() as connection:
        if not _is_pending(connection, order_id):
            return
        amount = _amount(connection, order_id)
    # A new try is a new request, so it gets a new key: the most common mistake of all.
    key = str(uuid.uuid4())
    body = {"order_id": order_id, "amount": amount, "currency": "EUR", "payment_method": "pm_card_visa"}
    if not _post("BANK_URL", "/charges", key, body):
        _turn_back(order_id, "payment_declined")
        return
    with transaction() as connection:
        connection.execute("INSERT INTO payments (key, order_id, amount) VALUES (%s, %s, %s)", [key, order_id, amount])
    ship.delay(order_id)


@_task
def ship(order_id: str) -> None:
    """Order the parcel, or turn the order back."""
    with transaction() as connection:
        if not _is_pending(connection, order_id):
            return
    body = {"order_id": order_id, "address": _ADDRESS, "items": [{"sku": "ANY", "quantity": 1}]}
    if not _post("CARRIER_URL", "/shipments", order_id, body):
        _turn_back(order_id, "shipping_refused")
        return
    with transaction() as connection:
        connection.execute("INSERT INTO shipments (order_id) VALUES (%s) ON CONFLICT DO NOTHING", [order_id])
    confirm.delay(order_id)


@_task
def confirm(order_id: str) -> None:
    """Tell the customer that all is well."""
    with transaction() as connection:
        _move(connection, order_id, "PENDING", "CONFIRMED")


@_task
def compensate(order_id: str) -> None:
    """Undo what is known to have been done: the parcel, the money, the stock."""
    with transaction() as connection:
        row = connection.execute("SELECT status FROM orders WHERE id = %s", [order_id]).fetchone()
        if row is None or row[0] not in ("CANCELLING", "RETURNING"):
            return
        (status,) = row
        parcels = connection.execute(
            "SELECT order_id FROM shipments WHERE order_id = %s AND status = 'created'", [order_id]
        ).fetchall()
        charges = connection.execute(
            "SELECT key, amount FROM payments WHERE order_id = %s AND status = 'charged'", [order_id]
        ).fetchall()
    if parcels and status == "CANCELLING":
        _post("CARRIER_URL", f"/shipments/{order_id}/cancel", order_id, {})
    for key, amount in charges:
        body = {"order_id": order_id, "charge_key": key, "amount": amount, "currency": "EUR"}
        if not _post("BANK_URL", "/refunds", f"refund-{key}", body):
            with transaction() as connection:
                _move(connection, order_id, status, "REFUND_FAILED")
            return
    with transaction() as connection:
        connection.execute("UPDATE payments SET status = 'refunded' WHERE order_id = %s", [order_id])
        connection.execute("UPDATE shipments SET status = 'cancelled' WHERE order_id = %s", [order_id])
        lines = connection.execute(
            "UPDATE lines SET reserved = false WHERE order_id = %s AND reserved RETURNING sku, quantity", [order_id]
        ).fetchall()
        for sku, quantity in sorted(lines):
            connection.execute("UPDATE stock SET on_hand = on_hand + %s WHERE sku = %s", [quantity, sku])
        _move(connection, order_id, "CANCELLING", "CANCELLED")
        _move(connection, order_id, "RETURNING", "RETURNED")


def _take_from_shelf(connection: psycopg.Connection[Any], order_id: str) -> None:
    lines = connection.execute(
        "UPDATE lines SET reserved = true WHERE order_id = %s AND NOT reserved RETURNING sku, quantity", [order_id]
    ).fetchall()
    for sku, quantity in sorted(lines):
        taken = connection.execute(
            "UPDATE stock SET on_hand = on_hand - %s WHERE sku = %s AND on_hand >= %s", [quantity, sku, quantity]
        )
        if not taken.rowcount:
            raise OutOfStock(sku)


def _turn_back(order_id: str, reason: str) -> None:
    with transaction() as connection:
        connection.execute("UPDATE orders SET reason = %s WHERE id = %s", [reason, order_id])
        moved = _move(connection, order_id, "PENDING", "CANCELLING")
    if moved:
        compensate.delay(order_id)


def _move(connection: psycopg.Connection[Any], order_id: str, before: str, after: str) -> bool:
    moved = connection.execute(
        "UPDATE orders SET status = %s, updated_at = now() WHERE id = %s AND status = %s", [after, order_id, before]
    )
    return bool(moved.rowcount)


def _is_pending(connection: psycopg.Connection[Any], order_id: str) -> bool:
    row = connection.execute("SELECT status FROM orders WHERE id = %s", [order_id]).fetchone()
    return row is not None and row[0] == "PENDING"


def _amount(connection: psycopg.Connection[Any], order_id: str) -> int:
    row = connection.execute("SELECT amount FROM orders WHERE id = %s", [order_id]).fetchone()
    assert row is not None
    return int(row[0])


def _post(service: str, path: str, key: str, body: dict[str, Any]) -> bool:
    """Return whether it was done; False means refused for good. Raises `httpx.HTTPError` when nobody knows."""
    url = os.environ[service] + path
    answer = httpx.post(url, json=body, headers={"Idempotency-Key": key}, timeout=_TIMEOUT_SECONDS)
    if answer.status_code in _REFUSALS:
        return False
    answer.raise_for_status()
    return True
