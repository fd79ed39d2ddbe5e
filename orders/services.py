"""The only writer of orders: one function, one use case, one transaction.

What a customer may be refused for is checked before anything is written, so a caller that holds the
transaction (the idempotency layer keeps a refusal as an answer) can go on with it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID

import msgspec
from django.db import connection, transaction
from django.db.models.functions import Now
from uuid_utils.compat import uuid7

from inventory.contracts import ProductListed
from orders import sql
from orders.contracts import Address, Line, OrderCancelRequested, OrderCreated, OrderReturnRequested
from orders.models import MAX_LINES, MAX_QUANTITY, Order, OrderLine, Price
from outbox.consumers import DomainError
from outbox.contracts import Event
from outbox.publishing import Outgoing, publish

SOURCE = "orders"
CANCELLED_BY_CUSTOMER = "cancelled_by_customer"


class InvalidItems(DomainError):
    """The items cannot be ordered as they are; `positions` says which ones, `field` what of them."""

    code = "invalid"
    field = ""

    def __init__(self, message: str, *, positions: Sequence[int] = ()) -> None:
        super().__init__(message)
        self.positions = tuple(positions)


class NoItems(InvalidItems):
    """An order needs at least one item."""

    code = "no_items"


class TooManyItems(InvalidItems):
    """An order has a limited number of lines."""

    code = "too_many_items"


class QuantityOutOfRange(InvalidItems):
    """A quantity is too small or too large."""

    code = "quantity_out_of_range"
    field = "quantity"


class RepeatedSku(InvalidItems):
    """A SKU appears more than once; add the quantities up."""

    code = "repeated_sku"
    field = "sku"


class UnknownSku(InvalidItems):
    """A SKU has no price."""

    code = "unknown_sku"
    field = "sku"


class MixedCurrencies(InvalidItems):
    """The items are priced in more than one currency."""

    code = "mixed_currencies"

    def __init__(self, *, currencies: Iterable[str]) -> None:
        self.currencies = tuple(sorted(currencies))
        super().__init__(f"An order has one currency; these items are priced in {', '.join(self.currencies)}.")


class DuplicateOrder(DomainError):
    """The customer ordered the same items within the last second."""

    def __init__(self, *, first_order_id: UUID) -> None:
        super().__init__("The same items were ordered a moment ago.")
        self.first_order_id = first_order_id


class OrderNotFound(DomainError):
    """There is no such order, or it is another customer's."""

    def __init__(self, *, order_id: UUID) -> None:
        super().__init__("There is no such order.")
        self.order_id = order_id


class NotCancellable(DomainError):
    """The order is past the point at which it could be cancelled; `status` says where it is."""

    def __init__(self, *, order_id: UUID, status: str) -> None:
        self.order_id = order_id
        self.status = status
        self.can_be_returned = status == Order.Status.CONFIRMED
        super().__init__(
            "The order is confirmed and can no longer be cancelled; it can be returned."
            if self.can_be_returned
            else f"An order that is {status} cannot be cancelled."
        )


class NotReturnable(DomainError):
    """Only a confirmed order can be returned; `status` says where it is."""

    def __init__(self, *, order_id: UUID, status: str) -> None:
        super().__init__(
            "The order is not confirmed yet; it can be cancelled."
            if status == Order.Status.PENDING
            else f"An order that is {status} cannot be returned."
        )
        self.order_id = order_id
        self.status = status


class Standing(NamedTuple):
    """Where an order is, why, and whose it is."""

    status: str
    reason: str
    customer_id: int


def place_order(
    *,
    customer_id: int,
    items: Sequence[Line],
    payment_method: str,
    shipping_address: Address,
    traceparent: str | None = None,
) -> Order:
    """Place an order at today's prices and tell of it with `order.created`.

    Raises `InvalidItems` (its subclass says why) and `DuplicateOrder`; nothing is written then.
    """
    _check(items)
    prices = _prices([item.sku for item in items])
    unknown = [position for position, item in enumerate(items) if item.sku not in prices]
    if unknown:
        raise UnknownSku("There is no product with this SKU.", positions=unknown)
    currencies = {price.currency for price in prices.values()}
    if len(currencies) > 1:
        raise MixedCurrencies(currencies=currencies)

    order = Order(
        id=uuid7(),
        customer_id=customer_id,
        status=Order.Status.PENDING,
        reason="",
        amount=sum(prices[item.sku].amount * item.quantity for item in items),
        currency=currencies.pop(),
        payment_method=payment_method,
        shipping_address=msgspec.to_builtins(shipping_address),
        items_hash=_hash(items),
    )
    order.loaded_lines = [
        OrderLine(
            order=order,
            position=position,
            sku=item.sku,
            name=prices[item.sku].name,
            quantity=item.quantity,
            unit_price=prices[item.sku].amount,
        )
        for position, item in enumerate(items)
    ]
    with transaction.atomic(savepoint=False):
        is_placed = _insert(order)
        if is_placed:
            created = OrderCreated(
                order_id=order.id,
                customer_id=customer_id,
                lines=tuple(items),
                amount=order.amount,
                currency=order.currency,
                payment_method=payment_method,
                address=shipping_address,
            )
            _tell(order.id, created, traceparent)
    if not is_placed:
        raise DuplicateOrder(first_order_id=_guarding_order(order))
    return order


def request_cancel(*, order_id: UUID, customer_id: int | None, reason: str, traceparent: str | None = None) -> None:
    """Ask for a pending order to be undone and tell of it; nobody confirms it from now on.

    `customer_id` is None for an operator. Safe to call twice. Raises `OrderNotFound` and `NotCancellable`.
    """
    with transaction.atomic(savepoint=False):
        is_moved = _move_own(order_id, customer_id, Order.Status.PENDING, Order.Status.CANCELLING, reason=reason)
        if is_moved:
            _tell(order_id, OrderCancelRequested(order_id=order_id, reason=reason), traceparent)
    if not is_moved:
        order = _own_order(order_id, customer_id)
        if order.status != Order.Status.CANCELLING:
            raise NotCancellable(order_id=order_id, status=order.status)


def request_return(*, order_id: UUID, customer_id: int | None, traceparent: str | None = None) -> None:
    """Ask for a confirmed order to be taken back and tell of it.

    `customer_id` is None for an operator. Safe to call twice. Raises `OrderNotFound` and `NotReturnable`.
    """
    with transaction.atomic(savepoint=False):
        is_moved = _move_own(order_id, customer_id, Order.Status.CONFIRMED, Order.Status.RETURNING)
        if is_moved:
            order = Order.objects.get(id=order_id)
            event = OrderReturnRequested(order_id=order_id, amount=order.amount, currency=order.currency)
            _tell(order_id, event, traceparent)
    if not is_moved:
        order = _own_order(order_id, customer_id)
        if order.status != Order.Status.RETURNING:
            raise NotReturnable(order_id=order_id, status=order.status)


def confirm_orders(*, ids: Sequence[UUID]) -> dict[UUID, Standing]:
    """Confirm those that are pending; return where each order that exists is now. Safe to call twice."""
    return _move(dict.fromkeys(ids, ""), origins=(Order.Status.PENDING,), target=Order.Status.CONFIRMED)


def cancel_orders(*, reasons: Mapping[UUID, str]) -> dict[UUID, Standing]:
    """Close the orders as cancelled, each for its reason, unless they were confirmed.

    Returns where each order that exists is now. Safe to call twice. An empty reason keeps the one that the
    order has.
    """
    origins = (Order.Status.PENDING, Order.Status.CANCELLING)
    return _move(reasons, origins=origins, target=Order.Status.CANCELLED)


def close_returned(*, ids: Sequence[UUID]) -> dict[UUID, Standing]:
    """Close those on their way back; return where each order that exists is now. Safe to call twice."""
    return _move(dict.fromkeys(ids, ""), origins=(Order.Status.RETURNING,), target=Order.Status.RETURNED)


def list_prices(*, products: Iterable[ProductListed]) -> None:
    """Take over names and prices; of several for one SKU the last one holds. Safe to call twice."""
    latest = {product.sku: product for product in products}
    listed = list(latest.values())
    with connection.cursor() as cursor:
        cursor.execute(
            sql.LIST_PRICES,
            [
                [product.sku for product in listed],
                [product.name for product in listed],
                [product.price for product in listed],
                [product.currency for product in listed],
            ],
        )


def _check(items: Sequence[Line]) -> None:
    if not items:
        raise NoItems("An order needs at least one item.")
    if len(items) > MAX_LINES:
        raise TooManyItems(f"An order has at most {MAX_LINES} items.")
    wrong = [position for position, item in enumerate(items) if not 1 <= item.quantity <= MAX_QUANTITY]
    if wrong:
        raise QuantityOutOfRange(f"A quantity lies between 1 and {MAX_QUANTITY}.", positions=wrong)
    first_of = {item.sku: position for position, item in reversed(list(enumerate(items)))}
    repeated = [position for position, item in enumerate(items) if first_of[item.sku] != position]
    if repeated:
        raise RepeatedSku("This SKU appears more than once; add the quantities up.", positions=repeated)


def _prices(skus: list[str]) -> dict[str, Price]:
    with connection.cursor() as cursor:
        cursor.execute(sql.PRICES, [skus])
        return {
            sku: Price(sku=sku, name=name, amount=amount, currency=currency)
            for sku, name, amount, currency in cursor.fetchall()
        }


def _hash(items: Sequence[Line]) -> int:
    """Return 64 bits that are the same for the same items in any order."""
    canonical = msgspec.json.encode(sorted((item.sku, item.quantity) for item in items))
    return int.from_bytes(hashlib.sha256(canonical).digest()[:8], "big", signed=True)


def _insert(order: Order) -> bool:
    lines = order.loaded_lines
    values: list[Any] = [
        order.id,
        order.customer_id,
        order.amount,
        order.currency,
        order.payment_method,
        msgspec.json.encode(order.shipping_address).decode(),
        order.items_hash,
        [line.position for line in lines],
        [line.sku for line in lines],
        [line.name for line in lines],
        [line.quantity for line in lines],
        [line.unit_price for line in lines],
    ]
    with connection.cursor() as cursor:
        cursor.execute(sql.PLACE_ORDER, values)
        placed = cursor.fetchone()
    if placed is None:
        return False
    order.placed_at, order.guard_window = placed
    order.updated_at = order.placed_at
    return True


def _guarding_order(order: Order) -> UUID:
    with connection.cursor() as cursor:
        cursor.execute(sql.GUARDING_ORDER, [order.customer_id, order.items_hash])
        (first_order_id,) = cursor.fetchone()
    return UUID(str(first_order_id))


def _move_own(
    order_id: UUID, customer_id: int | None, origin: Order.Status, target: Order.Status, **changes: str
) -> bool:
    own = {} if customer_id is None else {"customer_id": customer_id}
    mine = Order.objects.filter(id=order_id, status=origin, **own)
    return mine.update(status=target, updated_at=Now(), **changes) == 1


def _own_order(order_id: UUID, customer_id: int | None) -> Order:
    order = Order.objects.filter(id=order_id).first()
    if order is None or customer_id not in (None, order.customer_id):
        raise OrderNotFound(order_id=order_id)
    return order


def _move(
    reasons: Mapping[UUID, str], *, origins: Sequence[Order.Status], target: Order.Status
) -> dict[UUID, Standing]:
    with connection.cursor() as cursor:
        cursor.execute(
            sql.MOVE_ORDERS,
            [
                list(reasons.keys()),
                list(reasons.values()),
                target.value,
                [origin.value for origin in origins],
            ],
        )
        return {order_id: Standing(*standing) for order_id, *standing in cursor.fetchall()}


def _tell(order_id: UUID, event: Event, traceparent: str | None) -> None:
    publish([Outgoing(data=event, source=SOURCE, subject=order_id, traceparent=traceparent)])
