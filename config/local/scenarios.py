"""The scripted orders of the demo: what each customer does, and how it must end."""

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from config.local.shop import Customer, code_of

# Retries with growing pauses, each of which waits for a bank that does not answer, take their time.
SETTLING_SECONDS = 120.0
REFUSED_REFUND = "pm_sim_refund_refused"

Act = Callable[[Customer], Awaitable[str]]


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """A name, what the customer does (returning how it ended), and the end that is expected."""

    name: str
    act: Act
    expected: str


def ordering(items: dict[str, int], *, payment_method: str = "pm_card_visa", country: str = "DE") -> Act:
    """Return the act of ordering the items and waiting for the end."""

    async def act(customer: Customer) -> str:
        answer = await customer.order(items=items, payment_method=payment_method, country=country)
        return await _end(customer, answer.raise_for_status().json()["id"])

    return act


async def click_twice(customer: Customer) -> str:
    """Send the same checkout twice at once, with the same key."""
    key = str(uuid.uuid4())
    items = {"COFFEE-BEANS": 1, "FILTER-100": 2}
    answers = await asyncio.gather(*(customer.order(items=items, key=key) for _ in range(2)))
    order_id = answers[0].raise_for_status().json()["id"]
    last = await _end(customer, order_id)
    same = "same answer" if answers[0].content == answers[1].content else "different answers"
    return f"{len(await customer.ends())} order, {same}, {last}"


async def order_the_same_at_once(customer: Customer) -> str:
    """Send the same items twice at once, as two intents with a key each."""
    answers = await asyncio.gather(*(customer.order(items={"KETTLE": 1, "MUG-WHITE": 2}) for _ in range(2)))
    accepted = [answer for answer in answers if answer.is_success]
    codes = ", ".join(sorted(code_of(answer) for answer in answers))
    return f"{codes}, {await _end(customer, accepted[0].json()['id'])}"


async def compete_for_the_last_pieces(customer: Customer) -> str:
    """Order the last pieces of a product and two more, one piece an order, all at once."""
    pieces = await customer.available("POT-LIMITED")
    # Some green tea beside it, so that no two orders are the same.
    wishes = [{"POT-LIMITED": 1, "TEA-GREEN": number} for number in range(1, pieces + 3)]
    answers = await asyncio.gather(*(customer.order(items=items) for items in wishes))
    ids = [answer.raise_for_status().json()["id"] for answer in answers]
    ends = await asyncio.gather(*(_end(customer, order_id) for order_id in ids))
    return f"{pieces - ends.count('CONFIRMED')} left, {ends.count('CANCELLED out_of_stock')} out_of_stock"


async def cancel_in_time(customer: Customer) -> str:
    """Cancel while the bank keeps the charge waiting."""
    answer = await customer.order(items={"MUG-BLUE": 1}, payment_method="pm_sim_timeout_not_charged")
    order_id = answer.raise_for_status().json()["id"]
    cancel = await customer.ask(order_id, "cancel")
    return f"{code_of(cancel)}, {await _end(customer, order_id)}"


async def cancel_too_late(customer: Customer) -> str:
    """Cancel when the order is confirmed."""
    answer = await customer.order(items={"MUG-BLUE": 2})
    order_id = answer.raise_for_status().json()["id"]
    await _end(customer, order_id)
    cancel = await customer.ask(order_id, "cancel")
    return f"{code_of(cancel)}, {await _end(customer, order_id)}"


async def send_back(customer: Customer) -> str:
    """Return a confirmed order."""
    answer = await customer.order(items={"GRINDER": 1})
    order_id = answer.raise_for_status().json()["id"]
    await _end(customer, order_id)
    wish = await customer.ask(order_id, "returns")
    return f"{code_of(wish)}, {await _end(customer, order_id)}"


async def _end(customer: Customer, order_id: str) -> str:
    return await customer.end_of(order_id, seconds=SETTLING_SECONDS)


SCENARIOS = (
    Scenario(name="accepted", act=ordering({"TEA-GREEN": 2, "MUG-BLUE": 1}), expected="CONFIRMED"),
    Scenario(
        name="card declined",
        act=ordering({"TEA-BLACK": 1}, payment_method="pm_card_visa_chargeDeclined"),
        expected="CANCELLED payment_declined",
    ),
    Scenario(name="out of stock", act=ordering({"POT-SOLD-OUT": 1}), expected="CANCELLED out_of_stock"),
    Scenario(
        name="two too many want the last pieces",
        act=compete_for_the_last_pieces,
        expected="0 left, 2 out_of_stock",
    ),
    Scenario(name="double click", act=click_twice, expected="1 order, same answer, CONFIRMED"),
    Scenario(
        name="same items ordered twice within a second",
        act=order_the_same_at_once,
        expected="202, 409 duplicate-order, CONFIRMED",
    ),
    Scenario(
        name="bank times out, has charged",
        act=ordering({"TEA-MINT": 1}, payment_method="pm_sim_timeout_charged"),
        expected="CONFIRMED",
    ),
    Scenario(
        name="bank times out, has not charged",
        act=ordering({"TEA-MINT": 2}, payment_method="pm_sim_timeout_not_charged"),
        expected="CONFIRMED",
    ),
    Scenario(
        name="bank unavailable",
        act=ordering({"TEA-MINT": 3}, payment_method="pm_sim_unavailable"),
        expected="CANCELLED payment_unavailable",
    ),
    Scenario(
        name="carrier refuses the shipment",
        act=ordering({"COFFEE-GROUND": 1}, country="AQ"),
        expected="CANCELLED shipping_refused",
    ),
    Scenario(name="cancelled in time", act=cancel_in_time, expected="202, CANCELLED cancelled_by_customer"),
    Scenario(name="cancelled too late", act=cancel_too_late, expected="409 not-cancellable, CONFIRMED"),
    Scenario(name="returned", act=send_back, expected="202, RETURNED"),
)
