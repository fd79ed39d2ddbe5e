"""The real relay and the real participants under random interleavings: what no list of scenarios would think of.

Hypothesis decides who is served next and how many at once, what is delivered twice, where a transaction dies, whose
answer is lost, who wakes up after its lease, who cancels, what is out of stock. PostgreSQL is real; only bank and
carrier are played by the test. After every example all is calm, everything is delivered, and the invariants must hold.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import wait
from contextlib import contextmanager
from typing import ClassVar
from uuid import UUID, uuid4

import pytest
from django.db import transaction
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from pytest_django import Settings

from orders.contracts import Address, Line
from orders.models import Order
from orders.services import NotCancellable, place_order, request_cancel
from outbox import relay
from outbox.consumers import CONSUMERS, Consumer, Effectful
from outbox.effects import EffectPump
from outbox.joined import deliver
from outbox.models import Delivery, Lane
from payments import gateways
from sagas.deadlines import sweep_deadlines
from shipping import carriers
from tests.factories.inventory import stocked
from tests.factories.orders import ADDRESS, price
from tests.faults.outside_world import DECLINED, REFUND_REFUSED, REFUSED_COUNTRY, Bank, Carrier, Mood
from tests.messaging import execute, make_due, refill_bucket

# A minute in CI; a night with CHAOS_EXAMPLES=2000.
EXAMPLES = int(os.environ.get("CHAOS_EXAMPLES", "25"))
CHAOS = settings(
    max_examples=EXAMPLES,
    stateful_step_count=40,
    deadline=None,
    database=None,
    # To shrink an example runs it hundreds of times: minutes on a real database. Who has a failure adds Phase.shrink.
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=list(HealthCheck),
)
PIECES = 6
# More rounds than any retry policy has attempts: who is not done then never will be.
ROUNDS = 60
LANES = st.sampled_from([Lane.RELAY, Lane.EFFECTS, Lane.COMPENSATIONS])
SOME = st.integers(min_value=1, max_value=5)


class Shop(RuleBasedStateMachine):
    """A shop of one product, its outside world, and everything that can happen to it."""

    world: ClassVar[tuple[Bank, Carrier]]

    @initialize()
    def open(self) -> None:
        refill_bucket()
        self.sku = f"sku-{uuid4()}"
        stocked(self.sku, on_hand=PIECES, price=1250)
        price(self.sku, 1250)
        self.bank, self.carrier = self.world
        self.bank.moods.clear()
        self.carrier.moods.clear()
        self.orders: list[UUID] = []
        self.zombies: list[EffectPump] = []

    @rule(
        method=st.sampled_from(["pm_card_visa"] * 4 + [DECLINED, REFUND_REFUSED]),
        country=st.sampled_from(["DE"] * 4 + [REFUSED_COUNTRY]),
        quantity=st.integers(min_value=1, max_value=3),
    )
    def a_customer_orders(self, method: str, country: str, quantity: int) -> None:
        order = place_order(
            customer_id=uuid4().int % 10**12,
            items=[Line(sku=self.sku, quantity=quantity)],
            payment_method=method,
            shipping_address=Address(**ADDRESS | {"country": country}),
        )
        self.orders.append(order.id)

    @precondition(lambda self: self.orders)
    @rule(data=st.data())
    def a_customer_cancels(self, data: st.DataObject) -> None:
        order_id = data.draw(st.sampled_from(self.orders))
        try:
            request_cancel(order_id=order_id, customer_id=None, reason="cancelled_by_customer")
        except NotCancellable:
            assert Order.objects.get(id=order_id).status not in (Order.Status.PENDING, Order.Status.CANCELLING)

    @rule(data=st.data(), lane=LANES, limit=SOME, crashes=st.sampled_from([False] * 3 + [True]))
    def a_relay_delivers(self, data: st.DataObject, lane: Lane, limit: int, crashes: bool) -> None:
        consumer = data.draw(st.sampled_from(_with(effectful=False)))
        with transaction.atomic():
            deliver(consumer=consumer, lane=lane, types=_types(consumer, effectful=False), limit=limit)
            # Killed before the commit: nothing of it has happened.
            transaction.set_rollback(crashes)

    @rule(data=st.data(), lane=LANES, limit=SOME, fate=st.sampled_from(["settles"] * 3 + ["dies", "sleeps"]))
    def a_worker_calls(self, data: st.DataObject, lane: Lane, limit: int, fate: str) -> None:
        consumer = data.draw(st.sampled_from(_with(effectful=True)))
        pump = EffectPump()
        pump.claim(consumer=consumer, lane=lane, types=_types(consumer, effectful=True), limit=limit)
        wait(pump._in_flight)
        if fate == "settles":
            pump.close()
            return
        # The calls are made and their outcome is in nobody's hands but this worker's; its leases run out.
        make_due()
        if fate == "sleeps":
            self.zombies.append(pump)
        else:
            pump._pool.shutdown()

    @precondition(lambda self: self.zombies)
    @rule()
    def a_zombie_settles(self) -> None:
        self.zombies.pop(0).close()

    @rule(moods=st.lists(st.sampled_from(Mood), max_size=4), whose=st.sampled_from([0, 1]))
    def the_outside_world_turns(self, moods: list[Mood], whose: int) -> None:
        self.world[whose].moods[:] = moods

    @rule()
    def time_passes(self) -> None:
        make_due()

    @precondition(lambda self: self.orders)
    @rule(data=st.data())
    def a_deadline_passes(self, data: st.DataObject) -> None:
        order_id = data.draw(st.sampled_from(self.orders))
        execute(
            "UPDATE sagas_sagainstance SET due_at = now() - interval '1 second' WHERE key = %s AND due_at IS NOT NULL",
            order_id,
        )
        sweep_deadlines()

    @precondition(lambda self: self.orders)
    @rule(data=st.data())
    def everything_said_of_an_order_is_said_again(self, data: st.DataObject) -> None:
        order_id = data.draw(st.sampled_from(self.orders))
        execute(
            "INSERT INTO outbox_delivery (message_id, message_time, destination, lane, kind, type, ordering_key) "
            "SELECT d.message_id, d.message_time, d.destination, d.lane, d.kind, d.type, d.ordering_key "
            "FROM outbox_delivery d WHERE d.ordering_key = %s AND d.dead_at IS NULL ON CONFLICT DO NOTHING",
            order_id,
        )

    @invariant()
    def no_order_is_ever_charged_twice(self) -> None:
        assert all(count == 1 for count in self.world[0].charges().values())

    def teardown(self) -> None:
        if not getattr(self, "orders", None):
            return
        for part in self.world:
            part.moods.clear()
        for zombie in self.zombies:
            zombie.close()
        for _ in range(ROUNDS):
            make_due()
            refill_bucket(1000)
            for lane in Lane:
                relay.run(lane=lane, linger=0)
            if not Delivery.objects.filter(ordering_key__in=self.orders, dead_at__isnull=True).exists():
                break
        self.check_ends()
        self.check_money_and_goods()
        self.check_stock()

    def check_ends(self) -> None:
        """I4 and I5: every saga has ended or waits for a person, and nothing is left to deliver or told to nobody."""
        assert not execute(
            "SELECT i.key, i.status FROM sagas_sagainstance i WHERE i.key = ANY(%s) "
            "AND i.status NOT IN ('COMPLETED', 'COMPENSATED') AND NOT (i.status = 'SUSPENDED' "
            "AND EXISTS (SELECT FROM sagas_case c WHERE c.saga_id = i.id AND c.status = 'OPEN'))",
            self.orders,
        )
        assert not execute(
            "SELECT d.message_id FROM outbox_delivery d WHERE d.ordering_key = ANY(%s) "
            "AND NOT EXISTS (SELECT FROM sagas_case c WHERE c.key = d.ordering_key AND c.status = 'OPEN')",
            self.orders,
        )
        assert not execute(
            "SELECT ordering_key, type FROM outbox_message WHERE ordering_key = ANY(%s) AND kind = 'event' "
            "AND type <> 'message.dead_lettered' GROUP BY ordering_key, type HAVING count(*) > 1",
            self.orders,
        )

    def check_money_and_goods(self) -> None:
        """I1 and I3, of whoever does not wait for a person."""
        parcels = self.carrier.on_their_way()
        for order in self._settled():
            confirmed = order.status == Order.Status.CONFIRMED
            assert self.bank.kept(order.id) == (order.amount if confirmed else 0), order.id
            assert parcels[order.id] == int(confirmed), order.id

    def check_stock(self) -> None:
        """I2: what is held is held for running and confirmed orders, and all adds up."""
        [(on_hand, reserved, loaded)] = execute(
            "SELECT on_hand, reserved, loaded FROM inventory_stock WHERE sku = %s", self.sku
        )
        held = execute(
            "SELECT r.order_id, r.quantity FROM inventory_reservation r WHERE r.sku = %s AND r.status = 'held'",
            self.sku,
        )
        assert on_hand >= 0
        assert on_hand + reserved == loaded == PIECES
        assert reserved == sum(quantity for _, quantity in held)
        ended = {order.id: order.status for order in self._settled()}
        assert all(ended.get(order_id, "CONFIRMED") == "CONFIRMED" for order_id, _ in held)
        holders = {order_id for order_id, _ in held}
        assert all(order_id in holders for order_id, status in ended.items() if status == "CONFIRMED")

    def _settled(self) -> list[Order]:
        waiting = {
            key for (key,) in execute("SELECT key FROM sagas_case WHERE key = ANY(%s) AND status = 'OPEN'", self.orders)
        }
        orders = [order for order in Order.objects.filter(id__in=self.orders) if order.id not in waiting]
        assert all(order.status in (Order.Status.CONFIRMED, Order.Status.CANCELLED) for order in orders)
        return orders


def _with(*, effectful: bool) -> list[Consumer]:
    return [consumer for consumer in CONSUMERS if _types(consumer, effectful=effectful)]


def _types(consumer: Consumer, *, effectful: bool) -> tuple[str, ...]:
    return tuple(
        sorted(
            kind.wire_type for kind, handler in consumer.handlers.items() if isinstance(handler, Effectful) is effectful
        )
    )


@contextmanager
def _outside(patch: pytest.MonkeyPatch) -> Iterator[tuple[Bank, Carrier]]:
    bank, carrier = Bank(), Carrier()
    patch.setitem(gateways._GATEWAYS, "instant", lambda: bank)
    patch.setitem(carriers._CARRIERS, "instant", lambda: carrier)
    yield bank, carrier


@pytest.mark.django_db(transaction=True)
def test_f15_random_interleavings_keep_the_invariants(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """F02 to F08, F15, F16, F26 and F27 in any order and combination: I1 to I5 hold when all is calm again."""
    settings.PAYMENT_GATEWAY = settings.CARRIER = "instant"
    settings.GATEWAY_TIMEOUT_SECONDS = 0.05
    settings.NOTIFICATIONS_ADDRESS_BOOK = "tests.audited.everybody"
    with _outside(monkeypatch) as world:
        Shop.world = world
        run_state_machine_as_test(Shop, settings=CHAOS)
