"""F18: the server undoes a transaction that has met another one. It is run again inside; nobody outside hears of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import OperationalError, connections, transaction

from orders.models import Order
from outbox.consumers import Outcome
from outbox.contracts import Envelope
from outbox.models import Lane
from outbox.transactions import rerun_on_conflict
from sagas import services
from sagas.models import Case, OperatorAction
from tests.factories.cases import refused_refund
from tests.factories.orders import checkout, customer, price, told
from tests.faults.sabotage import DEADLOCK, SERIALIZATION, failing_writes, writes_tried
from tests.messaging import (
    Act,
    Acted,
    Bank,
    Clerk,
    Noted,
    Wiring,
    drain,
    execute,
    handled,
    say,
    second_connection,
    trail,
    waiting,
)

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.mark.parametrize("state", [DEADLOCK, SERIALIZATION])
@pytest.mark.parametrize("table", ["orders_order", "outbox_message", "outbox_idempotencykey"])
def test_f18_a_checkout_that_loses_three_times_is_accepted_once(table: str, state: str) -> None:
    """The client sees 202, and one order with one event is there."""
    price("MUG")
    ada = customer()

    with failing_writes(table, state=state, times=3):
        answer = ada.post("orders", checkout(("MUG", 1)))
        tried = writes_tried()

    assert (answer.status_code, tried) == (202, 4)
    assert Order.objects.count() == 1
    assert told(answer.json()["id"]) == ["order.created"]


def test_f18_who_always_loses_is_told_to_come_back() -> None:
    """It ends: 503 with Retry-After, and nothing is there; the same key works later."""
    price("MUG")
    ada = customer()

    with failing_writes("orders_order", state=DEADLOCK):
        refused = ada.post("orders", checkout(("MUG", 1)), key="one-intent")

    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "2")
    assert Order.objects.count() == 0
    assert ada.post("orders", checkout(("MUG", 1)), key="one-intent").status_code == 202


def test_f18_an_operator_who_meets_another_transaction_wins_on_the_second_run() -> None:
    """A real deadlock: the operator's action is the one that is undone, and is done all the same, once."""
    case = refused_refund()
    saga_id = case.saga_id
    assert saga_id is not None

    def resolve() -> str:
        # Long enough for the other one to begin to wait, even on a busy machine.
        execute("SET deadlock_timeout = '5s'")
        try:
            return services.resolve(saga_id=saga_id, operator="grace", reason="by hand", reference="BANK-7")
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as pool, second_connection() as other:
        other.execute("SELECT FROM sagas_case WHERE id = %s FOR UPDATE", [case.pk])
        answer = pool.submit(resolve)
        while not execute("SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"):
            assert not answer.done()
            time.sleep(0.05)
        # Whoever looks first is undone: that is whoever began to wait first, unless he has looked by now.
        other.execute("SET deadlock_timeout = '60s'")
        other.execute("SELECT FROM sagas_sagainstance WHERE id = %s FOR UPDATE", [saga_id])
        other.rollback()
        assert answer.result(timeout=60)

    case.refresh_from_db()
    assert case.status == Case.Status.CLOSED
    assert OperatorAction.objects.filter(saga_id=saga_id).count() == 1


def failing(times: int, state: str) -> Callable[[Envelope[Noted]], Outcome]:
    """Return a clerk's answer that the server undoes so many times."""
    left = [times]

    def answer(_envelope: Envelope[Noted]) -> Outcome:
        if left[0]:
            left[0] -= 1
            execute(f"DO $$ BEGIN RAISE EXCEPTION 'lost' USING ERRCODE = '{state}'; END $$")
        return None

    return answer


@pytest.mark.parametrize("state", [DEADLOCK, SERIALIZATION])
def test_f18_a_batch_that_loses_is_handed_over_again_without_an_attempt(wiring: Wiring, state: str) -> None:
    """All of it rolls back and all of it is done; no attempt is counted against anybody."""
    clerk = Clerk(failing(3, state))
    wiring.consumer({Noted: clerk.joined()})
    ids = say(*(Noted(number=number) for number in range(5)))

    for _ in range(5):
        drain(Lane.RELAY)

    assert (handled(), waiting()) == (set(ids), [])
    assert [trail(message_id) for message_id in ids] == [[]] * 5


def test_f18_an_outcome_that_loses_is_recorded_without_a_second_call(wiring: Wiring) -> None:
    """The bank is called once; its answer is written down as soon as the server lets it."""
    bank = Bank()
    lost = [3]

    def outcome(_envelope: object, _answer: object) -> Outcome:
        if lost[0]:
            lost[0] -= 1
            execute(f"DO $$ BEGIN RAISE EXCEPTION 'lost' USING ERRCODE = '{DEADLOCK}'; END $$")
        return Acted()

    bank.outcome = outcome
    wiring.consumer({Act: bank.effectful()})
    [message_id] = say(Act())

    drain(Lane.EFFECTS)

    assert (len(bank.calls), lost, waiting(), trail(message_id)) == (1, [0], [], [])


def test_f18_what_is_part_of_a_larger_transaction_is_not_run_again() -> None:
    """All of the larger one is lost, so only whoever opened it can run it again."""
    runs: list[int] = []

    @rerun_on_conflict
    def write() -> None:
        runs.append(1)
        execute(f"DO $$ BEGIN RAISE EXCEPTION 'lost' USING ERRCODE = '{DEADLOCK}'; END $$")

    with pytest.raises(OperationalError), transaction.atomic():
        write()

    assert runs == [1]
