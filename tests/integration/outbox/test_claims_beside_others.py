"""What a claim takes beside other relays and under a planner's worst ideas: its limit, and nothing it must wait for."""

from collections.abc import Callable

import pytest
from django.db import transaction

from outbox.claims import claim_again, claim_joined, claim_leased
from outbox.consumers import Consumer
from outbox.models import Delivery, Lane
from tests.messaging import Act, Bank, Clerk, Noted, Wiring, execute, say, second_connection

pytestmark = pytest.mark.django_db(transaction=True, available_apps=["outbox"])

Claim = Callable[[Consumer, int], list[int]]


@pytest.fixture
def consumer(wiring: Wiring) -> Consumer:
    return wiring.consumer({Noted: Clerk().joined(), Act: Bank().effectful()})


def joined(consumer: Consumer, limit: int) -> list[int]:
    rows = claim_joined(consumer=consumer, lane=Lane.RELAY, types=["test.noted"], limit=limit, using="default")
    return [one.delivery_id for one in rows]


def leased(consumer: Consumer, limit: int) -> list[int]:
    rows = claim_leased(consumer=consumer, lane=Lane.EFFECTS, types=["test.act"], limit=limit, using="default")
    return [one.delivery_id for one in rows]


def again(consumer: Consumer, limit: int) -> list[int]:
    chosen = list(Delivery.objects.filter(lane=Lane.RELAY).order_by("id").values_list("id", flat=True)[:limit])
    return [one.delivery_id for one in claim_again(delivery_ids=chosen, using="default")]


@pytest.mark.parametrize("claim", [joined, leased, again])
def test_what_another_relay_holds_is_neither_taken_nor_waited_for(consumer: Consumer, claim: Claim) -> None:
    say(*(Noted() for _ in range(4)), *(Act() for _ in range(4)))
    lane = Lane.EFFECTS if claim is leased else Lane.RELAY
    ids = list(Delivery.objects.filter(lane=lane).order_by("id").values_list("id", flat=True))

    with second_connection() as other, transaction.atomic():
        other.execute("SELECT FROM outbox_delivery WHERE id = ANY(%s) FOR UPDATE", [ids[::2]])
        # Whoever waits is told so by this, long before the other one lets go.
        execute("SET LOCAL lock_timeout = '2s'")
        claimed = claim(consumer, 4)

    assert claimed == ids[1::2]


@pytest.mark.parametrize("claim", [joined, leased])
def test_a_limit_holds_though_the_planner_would_ask_again_for_every_row(consumer: Consumer, claim: Claim) -> None:
    """With nothing to sort, hash or keep rows by, a subquery is run once for every row that it is compared with."""
    say(*(Noted() for _ in range(20)), *(Act() for _ in range(20)))

    with transaction.atomic():
        for way in ("hashjoin", "mergejoin", "hashagg", "sort", "material", "indexscan", "indexonlyscan", "bitmapscan"):
            execute(f"SET LOCAL enable_{way} = off")
        claimed = claim(consumer, 3)

    assert len(claimed) == 3
    assert Delivery.objects.filter(token__isnull=False).count() == (3 if claim is leased else 0)
