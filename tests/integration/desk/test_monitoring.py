"""The monitoring view: what it measures, and what it notes of each minute."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from django.db.models import F
from django.utils import timezone
from prometheus_client import REGISTRY
from uuid_utils.compat import uuid7

from desk.monitoring import refresh, selectors
from desk.monitoring.models import Measurement, Minute
from desk.monitoring.refresh import least_id, measure
from outbox.models import Delivery
from sagas import services
from sagas.models import Approval, Case, SagaInstance
from tests.factories.cases import completed_saga, deliveries_of, refused_event, refused_refund, running_saga

pytestmark = pytest.mark.django_db

LONG_AGO = timedelta(hours=1)


def aged(saga: SagaInstance, by: timedelta = LONG_AGO) -> SagaInstance:
    """Let a saga have begun earlier."""
    SagaInstance.objects.filter(pk=saga.pk).update(started_at=F("started_at") - by)
    return saga


def this_minute() -> Minute:
    return Minute.objects.latest("at")


def gauge(name: str, **labels: str) -> float | None:
    return REGISTRY.get_sample_value(name, labels)


# --- the views ---


def test_live_sagas_are_grouped_by_how_they_stand() -> None:
    first, second = aged(running_saga(), LONG_AGO), running_saga()
    aged(second, 2 * LONG_AGO)
    running_saga()
    refused_refund()
    completed_saga()

    measure()

    groups = selectors.live_sagas()
    found = {(group.status, group.is_turning_back, group.is_settling): group for group, _ in groups}
    assert {key: (group.sagas, group.amount, group.currency) for key, group in found.items()} == {
        ("RUNNING", False, False): (2, 2500, "EUR"),
        ("RUNNING", False, True): (1, 1250, "EUR"),
        ("SUSPENDED", True, False): (1, 1250, "EUR"),
    }
    assert found["SUSPENDED", True, False].steps == {
        "reserve-inventory": ("SUCCEEDED", "action"),
        "charge-payment": ("STUCK", "compensation"),
        "create-shipment": ("FAILED", "action"),
        "confirm-order": ("PENDING", "action"),
    }
    second.refresh_from_db()
    assert [oldest for group, oldest in groups if not group.is_settling and group.status == "RUNNING"] == [
        second.started_at
    ]
    assert first.pk != second.pk


def test_a_saga_without_money_is_counted_all_the_same() -> None:
    saga = aged(running_saga())
    SagaInstance.objects.filter(pk=saga.pk).update(data={"amount": "lots", "order_id": str(saga.key)}, steps={})

    measure()

    ((group, _),) = selectors.live_sagas()
    assert (group.sagas, group.amount, group.currency, group.steps) == (1, 0, "", {})


def test_open_cases_are_grouped_by_what_is_wrong() -> None:
    cases = [refused_refund(), refused_refund(), refused_refund()]
    other = refused_event()
    Case.objects.filter(pk=cases[0].pk).update(due_at=timezone.now() - LONG_AGO, claimed_at=timezone.now())
    Case.objects.filter(pk=cases[1].pk).update(opened_at=timezone.now() - LONG_AGO)
    Case.objects.filter(pk=cases[2].pk).update(status=Case.Status.CLOSED)

    measure()

    refunds, event = selectors.open_cases()
    assert (refunds.step, refunds.direction, refunds.error_class, refunds.reason) == (
        "charge-payment",
        "compensation",
        "RefundRefused",
        "refund_refused",
    )
    assert (refunds.cases, refunds.overdue, refunds.unowned, refunds.amount, refunds.currency) == (2, 1, 1, 2500, "EUR")
    assert refunds.oldest_at == Case.objects.get(pk=cases[1].pk).opened_at
    assert refunds.due_at == Case.objects.get(pk=cases[0].pk).due_at
    assert (event.destination, event.error_class, event.cases) == ("notifications", other.error_class, 1)
    assert selectors.count_open_cases() == 3


def test_the_queue_is_told_by_destination() -> None:
    dead = refused_refund()
    waiting = running_saga()
    Delivery.objects.filter(ordering_key=waiting.key, destination="inventory").update(
        token=uuid4(), message_time=timezone.now() - LONG_AGO
    )

    measure()

    rows = selectors.queue()
    refund = deliveries_of(dead).get()
    assert [(row.destination, row.lane, row.dead) for row in rows if row.dead] == [("payments", refund.lane, 1)]
    assert [row.in_flight for row in rows if row.destination == "inventory"] == [1]
    assert sum(row.waiting + row.in_flight + row.dead for row in rows) == Delivery.objects.count()
    lag = selectors.lag_seconds(rows, at=Measurement.objects.get().at)
    assert lag == pytest.approx(LONG_AGO.total_seconds(), abs=60)


def test_keys_behind_one_that_rests_are_counted() -> None:
    saga = running_saga()
    head = Delivery.objects.filter(ordering_key=saga.key, destination="inventory").get()
    Delivery.objects.create(
        message_id=uuid7(),
        message_time=timezone.now(),
        destination="inventory",
        lane=head.lane,
        kind="command",
        type=head.type,
        ordering_key=saga.key,
        available_at=timezone.now() - LONG_AGO,
    )

    Delivery.objects.filter(pk=head.pk).update(available_at=timezone.now() - LONG_AGO)
    measure()
    free = [row.blocked_keys for row in selectors.queue() if row.destination == "inventory"]
    Delivery.objects.filter(pk=head.pk).update(available_at=timezone.now() + LONG_AGO)
    measure()

    assert free == [0]
    assert [row.blocked_keys for row in selectors.queue() if row.destination == "inventory"] == [1]


def test_requests_that_wait_are_counted_until_they_lapse() -> None:
    first, second = refused_refund(), refused_refund()
    for case in (first, second):
        services.abandon(saga_id=case.saga_id or case.key, operator="olga", reason="r")
    Approval.objects.filter(saga_id=second.saga_id).update(expires_at=timezone.now() - LONG_AGO)

    measure()

    (row,) = selectors.waiting_approvals()
    assert (row.action, row.approvals, row.amount, row.currency) == ("abandon", 1, 1250, "EUR")
    assert row.expires_at == Approval.objects.get(saga_id=first.saga_id).expires_at


def test_the_view_stays_as_it_was_until_it_is_measured_again() -> None:
    refused_refund()
    measure()

    Case.objects.update(status=Case.Status.CLOSED)
    before = selectors.count_open_cases()
    measure()

    assert (before, selectors.count_open_cases()) == (1, 0)


# --- money at risk ---


def test_money_at_risk_is_told_by_kind_and_currency() -> None:
    refused_refund()
    aged(running_saga())

    measure()

    assert this_minute().money == {
        "refund_pending": {"EUR": 1250},
        "charged_not_shipped": {},
        "reserved_not_released": {},
    }
    assert gauge("money_at_risk", kind="refund_pending", currency="EUR") == 1250


def test_money_that_is_safe_again_is_told_as_nothing() -> None:
    """Another process may measure the next time: what to reset is told by the rows, not by memory."""
    case = refused_refund()
    measure()

    SagaInstance.objects.filter(pk=case.saga_id or case.key).update(status="ABANDONED")
    measure()

    assert this_minute().money["refund_pending"] == {"EUR": 0}
    assert gauge("money_at_risk", kind="refund_pending", currency="EUR") == 0


# --- minutes ---


def test_a_minute_tells_what_was_begun_in_it_and_how_that_ended() -> None:
    completed_saga()
    running_saga()
    refused_refund()

    measure()

    minutes = selectors.minutes(since=timezone.now() - LONG_AGO)
    assert sum(minute.started for minute in minutes) == 3
    assert sum(minute.completed for minute in minutes) == 1
    assert sum(minute.turned_back for minute in minutes) == 1
    assert len(minutes) == 11
    assert (this_minute().open_cases, this_minute().overdue, this_minute().dead) == (1, 0, 1)
    assert [minute.open_cases for minute in minutes[:-1]] == [None] * 10
    assert this_minute().lag_seconds is not None


def test_what_turns_back_later_counts_for_the_minute_in_which_it_began() -> None:
    begun = timezone.now().replace(second=30, microsecond=0) - timedelta(minutes=90)
    Minute.objects.create(at=begun.replace(second=0), started=2)
    for reason, status in (("deadline_exceeded", "COMPENSATING"), ("", "COMPLETED")):
        saga = running_saga()
        old_id = UUID(int=least_id(begun).int + len(reason))
        SagaInstance.objects.filter(pk=saga.pk).update(id=old_id, reason=reason, status=status)

    measure()

    minute = Minute.objects.get(at=begun.replace(second=0))
    assert (minute.started, minute.turned_back, minute.completed) == (2, 1, 1)


def test_an_abandoned_saga_has_not_completed() -> None:
    saga = running_saga()
    SagaInstance.objects.filter(pk=saga.pk).update(status="ABANDONED")

    measure()

    assert [(m.started, m.completed, m.turned_back) for m in Minute.objects.filter(started__gt=0)] == [(1, 0, 0)]


def test_to_measure_twice_changes_nothing_but_the_time() -> None:
    completed_saga()
    refused_refund()
    measure()
    before = list(Minute.objects.values())

    measure()

    assert list(Minute.objects.values()) == before
    assert Measurement.objects.count() == 1


def test_the_worst_lag_of_a_minute_is_kept() -> None:
    saga = running_saga()
    measure()
    Minute.objects.filter(at=this_minute().at).update(lag_seconds=99)
    Delivery.objects.filter(ordering_key=saga.key).delete()

    measure()

    assert this_minute().lag_seconds == 99


def test_a_long_silence_is_not_counted_again() -> None:
    Minute.objects.create(at=timezone.now().replace(second=0, microsecond=0) - timedelta(hours=2))

    measure()

    assert Minute.objects.count() == 12


def test_a_clock_that_was_set_back_does_no_harm() -> None:
    Minute.objects.create(at=timezone.now().replace(second=0, microsecond=0) + timedelta(hours=2), money={})

    assert measure() is True
    assert Minute.objects.filter(open_cases=0).count() == 1


def test_old_minutes_are_forgotten() -> None:
    old = timezone.now().replace(second=0, microsecond=0) - refresh.KEEP
    Minute.objects.create(at=old - timedelta(minutes=1))
    Minute.objects.create(at=old + timedelta(minutes=3))

    measure()

    assert Minute.objects.filter(at__lt=old + timedelta(minutes=3)).count() == 0
    assert Minute.objects.filter(at=old + timedelta(minutes=3)).exists()


def test_ids_are_ranges_of_time() -> None:
    before = timezone.now()
    made = uuid7()
    after = timezone.now()

    assert least_id(before) <= made < least_id(after + timedelta(milliseconds=1))
