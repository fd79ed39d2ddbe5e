"""F03: a relay that sleeps past its lease and then settles is refused by the fence; nothing is settled twice."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from prometheus_client import REGISTRY

from config.local.folder import PROJECT
from outbox.effects import EffectPump
from outbox.models import Attempt, Delivery, Lane, Message
from tests.messaging import Act, Bank, Wiring, make_due, say
from tests.running import running_shop
from tests.shop import Shop

TAKEOVER = "import django; django.setup(); from outbox import relay; relay.run(lane='effects', seconds=30, linger=6)"


def fenced() -> float:
    return REGISTRY.get_sample_value("outbox_fenced_total") or 0


@pytest.mark.django_db(transaction=True)
def test_f03_what_a_zombie_settles_is_refused(wiring: Wiring) -> None:
    """Its call ends after its lease, when another relay has called, recorded and replied: nothing is added."""
    may_wake = threading.Event()

    def sleep_in_the_first_call(_: Any) -> str:
        if len(bank.calls) == 1:
            assert may_wake.wait(timeout=60)
        return "yes"

    bank = Bank(sleep_in_the_first_call)
    consumer = wiring.consumer({Act: bank.effectful()})
    say(Act(number=1))
    zombie, heir = EffectPump(), EffectPump()
    zombie.claim(consumer=consumer, lane=Lane.EFFECTS, types=[Act.wire_type], limit=10)
    make_due()

    heir.claim(consumer=consumer, lane=Lane.EFFECTS, types=[Act.wire_type], limit=10)
    while not Message.objects.filter(type="test.acted").exists():
        heir.collect(seconds=0.1)
    heir.close()
    before = fenced()
    may_wake.set()
    while zombie.busy:
        zombie.collect(seconds=0.1)
    zombie.close()

    assert fenced() - before == 1
    assert len(bank.calls) == 2
    assert {call.id for call in bank.calls} == {bank.calls[0].id}
    assert len(bank.recorded) == 1
    assert Message.objects.filter(type="test.acted").count() == 1
    assert not Delivery.objects.filter(type="test.act").exists()


@pytest.mark.django_db(transaction=True)
def test_f03_a_zombie_that_failed_burns_no_attempt_of_its_heir(wiring: Wiring) -> None:
    """The other relay still works on it: the failure of the one that lost the lease is nobody's."""
    may_wake = threading.Event()

    def break_in_the_first_call(_: Any) -> str:
        if len(bank.calls) == 1:
            assert may_wake.wait(timeout=60)
            raise RuntimeError("woke up in a strange world")
        return "yes"

    bank = Bank(break_in_the_first_call)
    consumer = wiring.consumer({Act: bank.effectful()})
    say(Act(number=1))
    zombie, heir = EffectPump(), EffectPump()
    zombie.claim(consumer=consumer, lane=Lane.EFFECTS, types=[Act.wire_type], limit=10)
    make_due()
    heir.claim(consumer=consumer, lane=Lane.EFFECTS, types=[Act.wire_type], limit=10)

    may_wake.set()
    while zombie.busy:
        zombie.collect(seconds=0.1)
    zombie.close()
    while heir.busy:
        heir.collect(seconds=0.1)
    heir.close()

    assert not Attempt.objects.exists()
    assert Message.objects.filter(type="test.acted").count() == 1


@pytest.fixture(scope="module")
def shop() -> Iterator[Shop]:
    """A running shop with short leases and a bank that takes its time."""
    with running_shop(name="f03", RELAY_LEASE_SECONDS="1", GATEWAY_TIMEOUT_SECONDS="20") as running:
        yield running


def everyone(shop: Shop, queue: str) -> list[psutil.Process]:
    """Return the processes of a worker, the main one first."""
    main = psutil.Process(shop.pids[queue])
    return [main, *main.children(recursive=True)]


def test_f03_processes_that_were_stopped_beyond_their_lease_wake_up_as_zombies(shop: Shop) -> None:
    """All workers of the lane are stopped in mid call; another relay delivers; then they go on where they stood."""
    shop.control("bank", latency_ms=2_000)
    customer = shop.customer()
    order_id = customer.place({"TEA-GREEN": 1})
    held = "SELECT available_at < now() FROM outbox_delivery WHERE type = 'payment.charge' AND token IS NOT NULL"
    shop.wait_until(lambda: bool(shop.query(held)))
    stopped = everyone(shop, "effects")
    for process in stopped:
        process.send_signal(signal.SIGSTOP)
    try:
        shop.wait_until(lambda: shop.query(held) == [(True,)])
        shop.control("bank", latency_ms=0)
        heir = subprocess.Popen([sys.executable, "-c", TAKEOVER], env=dict(shop.environment), cwd=PROJECT)
        end = customer.end_of(order_id)
        heir.wait(timeout=120)
    finally:
        for process in stopped:
            process.send_signal(signal.SIGCONT)

    assert end == "CONFIRMED"
    shop.wait_until(lambda: "outbox.settle.fenced" in log_of(shop))
    assert [kind for kind, _ in shop.bank(order_id)] == ["charge"]
    assert shop.carrier(order_id) == ["shipment"]
    replies = "SELECT type, count(*) FROM outbox_message WHERE ordering_key = %s AND kind = 'event' GROUP BY type"
    assert {count for _, count in shop.query(replies, order_id)} == {1}
    assert shop.query("SELECT count(*) FROM payments_payment WHERE order_id = %s", order_id) == [(1,)]
    assert shop.audit() == (0, [])


def log_of(shop: Shop) -> str:
    """Return what the workers of the lane have logged."""
    return (Path(shop.environment["PROMETHEUS_MULTIPROC_DIR"]).parent / "log" / "effects.log").read_text()
