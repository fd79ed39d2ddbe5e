"""Any number of relays on one lane: nothing twice, nothing left, every key in its order."""

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import pytest
from django.db import transaction
from pytest_django import Settings
from uuid_utils.compat import uuid7

from outbox import relay
from outbox.claims import claim_joined, claim_leased
from outbox.consumers import Joined, Outcome, TransientError
from outbox.contracts import Envelope
from outbox.joined import deliver
from outbox.models import Delivery, Lane
from tests.messaging import Act, Acted, Bank, Clerk, Noted, Wiring, drain, execute, make_due, say, waiting
from tests.threads import side_by_side

pytestmark = pytest.mark.django_db(transaction=True, available_apps=["outbox"])

KEYS, EACH, RELAYS = 50, 20, 4


class Witness:
    """Writes down what it sees of every key, in the order in which it happens."""

    def __init__(self) -> None:
        self.seen: dict[UUID, list[int]] = defaultdict(list)
        self.busy: set[UUID] = set()
        self.overlaps = 0
        self._lock = threading.Lock()

    def enter(self, envelope: Envelope[Any]) -> None:
        """Begin with a message."""
        with self._lock:
            self.overlaps += envelope.subject in self.busy
            self.busy.add(envelope.subject)
            self.seen[envelope.subject].append(envelope.data.number)

    def leave(self, envelope: Envelope[Any]) -> None:
        """Be done with it."""
        with self._lock:
            self.busy.discard(envelope.subject)

    def handle(self, batch: Sequence[Envelope[Any]]) -> list[Outcome]:
        """Handle a batch inside the relay's transaction."""
        for envelope in batch:
            self.enter(envelope)
        for envelope in batch:
            self.leave(envelope)
        return [None] * len(batch)

    def call(self, envelope: Envelope[Any]) -> str:
        """Be called outside of it."""
        self.enter(envelope)
        self.leave(envelope)
        return "yes"


def run_until_empty(lane: Lane) -> int:
    total = 0
    while Delivery.objects.filter(lane=lane).exists():
        total += relay.run(lane=lane, linger=0)
    return total


def publish_interleaved(message: type[Noted | Act]) -> list[UUID]:
    """Say the n-th message of every key before the next one of any."""
    keys = [uuid7() for _ in range(KEYS)]
    for number in range(EACH):
        with transaction.atomic():
            for key in keys:
                say(message(number=number), key=key)
    return keys


@pytest.mark.parametrize("way", ["joined", "effectful"])
def test_four_relays_keep_the_order_of_every_key(wiring: Wiring, settings: Settings, way: str) -> None:
    settings.RELAY_BATCH = 16
    settings.EFFECTS_CONCURRENCY = 8
    witness = Witness()
    if way == "joined":
        wiring.consumer({Noted: Joined(handle=witness.handle)})
        keys, lane = publish_interleaved(Noted), Lane.RELAY
    else:
        wiring.consumer({Act: Bank(witness.call).effectful()})
        keys, lane = publish_interleaved(Act), Lane.EFFECTS

    claimed = side_by_side([lambda: run_until_empty(lane)] * RELAYS)

    assert witness.seen == {key: list(range(EACH)) for key in keys}
    assert witness.overlaps == 0
    assert sum(claimed) == KEYS * EACH
    assert waiting() == []


@pytest.mark.parametrize("kind", ["joined", "leased"])
def test_two_claims_at_once_take_disjoint_sets(wiring: Wiring, kind: str) -> None:
    consumer = wiring.consumer({Noted: Clerk().joined(), Act: Bank().effectful()})
    say(*(Noted(number=n) if kind == "joined" else Act(number=n) for n in range(100)))
    both_have_claimed = threading.Barrier(2)

    def claim() -> set[int]:
        with transaction.atomic():
            if kind == "joined":
                rows = claim_joined(consumer=consumer, lane=Lane.RELAY, types=["test.noted"], limit=60, using="default")
            else:
                rows = claim_leased(consumer=consumer, lane=Lane.EFFECTS, types=["test.act"], limit=60, using="default")
            both_have_claimed.wait(timeout=10)
        return {one.known.data.number for one in rows}

    one, other = side_by_side([claim, claim])

    assert one & other == set()
    assert one | other == set(range(100))
    assert max(len(one), len(other)) <= 60


def test_two_relays_on_retried_rows_call_nothing_twice(wiring: Wiring) -> None:
    """Every row has failed once: its stamp of that time must not let two relays have it now."""
    broken = threading.Event()
    broken.set()

    def behave(envelope: Envelope[Any]) -> str:
        if broken.is_set():
            raise TransientError("busy")
        time.sleep(0.002)
        return "yes"

    bank = Bank(behave)
    wiring.consumer({Act: bank.effectful()})
    ids = say(*(Act() for _ in range(100)))
    drain(Lane.EFFECTS)
    assert len(bank.calls) == 100
    bank.calls.clear()
    broken.clear()
    make_due()

    side_by_side([lambda: run_until_empty(Lane.EFFECTS)] * 2)

    assert Counter(envelope.id for envelope in bank.calls) == Counter(ids)
    assert {envelope.attempt for envelope in bank.calls} == {2}
    assert waiting() == []


def test_a_command_published_while_four_relays_run_is_carried_out_once(wiring: Wiring) -> None:
    """Publishers and relays at the same time: nothing is missed and nothing is done twice."""
    done: Counter[int] = Counter()
    lock = threading.Lock()

    def handle(batch: Sequence[Envelope[Any]]) -> list[Outcome]:
        with lock:
            done.update(envelope.data.number for envelope in batch)
        return [Acted() for _ in batch]

    wiring.consumer({Act: Joined(handle=handle)})
    over = threading.Event()

    def publish_some(start: int) -> None:
        for number in range(start, start + 50):
            say(Act(number=number), saga_id=uuid7(), step="act")

    def publish_all() -> None:
        publish_some(0)
        publish_some(50)
        over.set()

    def deliver() -> None:
        while not over.is_set():
            relay.run(lane=Lane.RELAY, linger=0.01)

    side_by_side([publish_all, *[deliver] * RELAYS])
    drain(Lane.RELAY)

    assert done == Counter(range(100))
    assert waiting() == []


def test_a_relay_waits_for_no_row_that_another_one_holds(wiring: Wiring) -> None:
    """One relay sits in the middle of its batch; the other one takes what is free and goes on."""
    in_the_middle, may_go_on = threading.Event(), threading.Event()
    fast: list[int] = []

    def handle(batch: Sequence[Envelope[Any]]) -> list[Outcome]:
        if any(envelope.data.number == 0 for envelope in batch):
            in_the_middle.set()
            assert may_go_on.wait(timeout=10)
        else:
            fast.extend(envelope.data.number for envelope in batch)
        return [None] * len(batch)

    consumer = wiring.consumer({Noted: Joined(handle=handle)})
    key = uuid7()
    say(Noted(number=0), Noted(number=1), key=key)
    say(Noted(number=2))
    execute("UPDATE outbox_delivery SET available_at = available_at - interval '1 s' WHERE ordering_key = %s", key)

    def slow() -> int:
        return deliver(consumer=consumer, lane=Lane.RELAY, types=["test.noted"], limit=1)

    def quick() -> int:
        assert in_the_middle.wait(timeout=10)
        try:
            return deliver(consumer=consumer, lane=Lane.RELAY, types=["test.noted"], limit=10)
        finally:
            may_go_on.set()

    assert side_by_side([slow, quick]) == [1, 1]
    assert fast == [2]
