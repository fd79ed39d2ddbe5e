"""F09: a refund or a release that is refused for good is tried a bounded number of times, then a person is asked."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from django.utils import timezone
from pytest_django import Settings

from inventory import services as inventory_services
from orders.models import Order
from outbox.models import Attempt, Delivery
from payments.contracts import RefundPayment
from payments.gateways.instant import InstantGateway
from payments.gateways.protocol import RefundRefused
from payments.handlers import CONSUMER as PAYMENTS
from sagas import services
from sagas.models import Case, SagaInstance
from shipping.carriers.instant import InstantCarrier
from shipping.carriers.protocol import ShipmentRefused
from tests.factories.inventory import levels, stocked
from tests.factories.orders import placed, price
from tests.messaging import drain, make_due, refill_bucket

pytestmark = pytest.mark.django_db(transaction=True)

CASE_DUE = timedelta(hours=4)


@pytest.fixture(autouse=True)
def _shop(transactional_db: None, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shop whose carrier takes no parcel, so that every order turns back."""
    settings.PAYMENT_GATEWAY = settings.CARRIER = "instant"
    settings.COMPENSATIONS_PER_SECOND = 100_000
    settings.CASE_DUE_HOURS = CASE_DUE.total_seconds() / 3600
    refill_bucket()
    price("MUG")
    stocked("MUG", on_hand=100)
    refusal = ShipmentRefused(carrier="instant", code="no_route", detail="nobody goes there")
    monkeypatch.setattr(InstantCarrier, "create", lambda _self, _request: refusal)


def refuse_refund_of(patch: pytest.MonkeyPatch, order_id: UUID) -> None:
    """Let the bank refuse one order's refund for good."""
    real = InstantGateway.refund

    def refund(self: InstantGateway, request: Any) -> Any:
        if request.order_id == order_id:
            raise RefundRefused("the bank refuses to refund this charge")
        return real(self, request)

    patch.setattr(InstantGateway, "refund", refund)


def refuse_release_of(patch: pytest.MonkeyPatch, order_id: UUID) -> None:
    """Let inventory break on one order, in whatever batch it comes."""
    real = inventory_services.release_inventory

    def release_inventory(*, order_ids: Any) -> None:
        if order_id in order_ids:
            raise ArithmeticError("the shelf does not exist")
        real(order_ids=order_ids)

    patch.setattr(inventory_services, "release_inventory", release_inventory)


def rests(order_id: UUID) -> list[timedelta]:
    """Return how long each living delivery of the order rests from now."""
    now = timezone.now()
    due = Delivery.objects.filter(ordering_key=order_id, dead_at=None).values_list("available_at", flat=True)
    return [at - now for at in due]


def run_out(order_id: UUID) -> list[timedelta]:
    """Let one attempt follow the other until nothing of the order lives; return the rests in between."""
    found: list[timedelta] = []
    drain()
    while pause := rests(order_id):
        found += pause
        make_due()
        drain()
    return found


def trail(order_id: UUID) -> list[tuple[int, str]]:
    return list(Attempt.objects.filter(ordering_key=order_id).order_by("id").values_list("attempt", "decision"))


def assert_on_the_desk(order: Order, step: str) -> Case:
    """Check that the saga waits for a person, with a name and a time; return the case."""
    saga = SagaInstance.objects.get(key=order.id)
    [case] = Case.objects.filter(key=order.id)
    assert (saga.status, saga.steps[step]["status"]) == ("SUSPENDED", "STUCK")
    assert (case.status, case.saga_id, case.step, case.direction) == ("OPEN", saga.pk, step, "compensation")
    assert case.owner != ""
    assert abs(case.due_at - case.opened_at - CASE_DUE) < timedelta(seconds=30)
    return case


def test_f09_a_refund_refused_for_good_is_a_case_after_bounded_attempts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Five tries with growing rests, then SUSPENDED; all the others get their money back meanwhile."""
    orders = [placed(("MUG", 1), customer_id=number) for number in range(20)]
    unlucky = orders[7]
    refuse_refund_of(monkeypatch, unlucky.id)
    policy = PAYMENTS.handlers[RefundPayment].policy

    pauses = run_out(unlucky.id)

    assert trail(unlucky.id) == [(1, "retry"), (2, "retry"), (3, "retry"), (4, "retry"), (5, "dead")]
    # Full jitter: a rest may be next to nothing, and is then over before it is seen.
    assert len(pauses) < policy.attempts
    assert max(pauses) <= min(policy.cap, policy.base * 2 ** (policy.attempts - 2))
    case = assert_on_the_desk(unlucky, "charge-payment")
    assert (case.error_class, case.attempts) == ("RefundRefused", 5)
    others = Order.objects.exclude(id=unlucky.id)
    assert set(others.values_list("status", "reason")) == {("CANCELLED", "shipping_refused")}
    assert set(SagaInstance.objects.exclude(key=unlucky.id).values_list("status", flat=True)) == {"COMPENSATED"}


def test_f09_once_the_bank_gives_in_a_retry_by_a_person_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same command with the same key, and the saga goes on where it stood."""
    order = placed(("MUG", 1))
    with monkeypatch.context() as patch:
        refuse_refund_of(patch, order.id)
        run_out(order.id)
    case = assert_on_the_desk(order, "charge-payment")

    services.retry(saga_id=SagaInstance.objects.get(key=order.id).pk, operator="grace", reason="the bank gave in")
    drain()

    order.refresh_from_db()
    case.refresh_from_db()
    assert (order.status, case.resolution) == ("CANCELLED", "retried")
    assert levels("MUG") == (100, 0)


def test_f09_a_release_refused_for_good_is_a_case_and_its_batch_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    """It stands in the middle of a batch of twenty: the others are released, it alone waits for a person."""
    orders = [placed(("MUG", 1), customer_id=number) for number in range(20)]
    unlucky = orders[11]
    refuse_release_of(monkeypatch, unlucky.id)

    pauses = run_out(unlucky.id)

    assert trail(unlucky.id) == [(1, "retry"), (2, "retry"), (3, "dead")]
    assert len(pauses) <= 2
    case = assert_on_the_desk(unlucky, "reserve-inventory")
    assert case.error_class == "ArithmeticError"
    assert levels("MUG") == (99, 1)
    assert set(Order.objects.exclude(id=unlucky.id).values_list("status", flat=True)) == {"CANCELLED"}


def test_f09_a_case_that_nobody_works_on_is_called_out(caplog: pytest.LogCaptureFixture) -> None:
    """Past its due time, once an hour."""
    from sagas.tasks import remind_overdue_cases

    order = placed(("MUG", 1))
    with pytest.MonkeyPatch.context() as patch:
        refuse_refund_of(patch, order.id)
        run_out(order.id)
    Case.objects.update(due_at=timezone.now() - timedelta(minutes=1))
    caplog.clear()

    remind_overdue_cases()
    remind_overdue_cases()

    told = [record.msg for record in caplog.records if "sagas.case.overdue" in str(record.msg)]
    assert len(told) == 1
    assert "on-call" in str(told[0])
