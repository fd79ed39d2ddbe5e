"""The frozen set of a bulk run: exactly the chosen cases, as they were, with what would come of each."""

from __future__ import annotations

import pytest
from pytest_django import DjangoAssertNumQueries, Settings

from desk.bulk import services
from desk.bulk.models import BulkRow, BulkRun
from outbox.models import Message
from sagas import services as sagas
from sagas.engine import Refused
from sagas.models import Case, OperatorAction
from tests.factories.bulk import bulk_operator, frozen, started
from tests.factories.cases import is_dead, refused_event, refused_refund

pytestmark = pytest.mark.django_db(transaction=True)


def test_the_set_is_exactly_what_was_chosen_in_that_order_each_case_once() -> None:
    bulk_operator()
    first, second, _unchosen = refused_refund(), refused_refund(), refused_refund()

    run = services.freeze(case_ids=[second.pk, first.pk, second.pk], action="retry", operator="grace", source="ticked")

    assert list(run.rows.order_by("position").values_list("position", "case_id")) == [(1, second.pk), (2, first.pk)]
    assert (run.size, run.phase, run.source, run.requested_by) == (2, "PREVIEW", "ticked", "grace")


def test_a_row_tells_the_case_as_it_was() -> None:
    bulk_operator()
    case = refused_refund()

    row = frozen([case]).rows.get()

    assert case.saga is not None
    assert (row.key, row.fingerprint, row.step) == (case.key, case.fingerprint, "charge-payment (compensation)")
    assert (row.amount, row.currency, row.money) == (1250, "EUR", "12.50 EUR")
    assert (row.seen_at, row.needs_approval, row.status) == (case.saga.updated_at, False, "WAITING")


@pytest.mark.parametrize(
    ("action", "of_saga", "of_message"),
    [
        ("retry", "payment.refund, as it was, with the same key", "order.confirmed to notifications, as it was"),
        ("skip", "inventory.release", None),
        ("resolve", "inventory.release", "nothing; order.confirmed is no longer delivered to notifications"),
        ("abandon", "nothing", "nothing; order.confirmed is no longer delivered to notifications"),
    ],
)
def test_it_tells_what_will_be_called(action: str, of_saga: str, of_message: str | None) -> None:
    bulk_operator()
    saga, message = refused_refund(), refused_event()

    rows = {row.case_id: row for row in frozen([saga, message], action=action).rows.all()}

    assert rows[saga.pk].calls == of_saga
    if of_message is None:
        assert (rows[message.pk].status, rows[message.pk].result) == (
            "REFUSED",
            "it belongs to no saga; there is no step to act on",
        )
    else:
        assert rows[message.pk].calls == of_message


def test_what_cannot_be_acted_on_is_refused_from_the_start_with_the_reason() -> None:
    bulk_operator()
    bulk_operator("olga")
    settled, taken, good = refused_refund(), refused_refund(), refused_refund()
    assert settled.saga_id is not None
    sagas.skip(saga_id=settled.saga_id, operator="olga", reason="by hand")
    other = started([taken], operator="olga")

    chosen = [settled.pk, taken.pk, 0, good.pk]
    run = services.freeze(case_ids=chosen, action="retry", operator="grace")

    assert list(run.rows.order_by("position").values_list("case_id", "status", "result")) == [
        (settled.pk, "REFUSED", "closed already: skipped"),
        (taken.pk, "REFUSED", f"bulk run {other.pk} has it: stop that run first, or wait until it has ended"),
        (0, "REFUSED", "there is no such case"),
        (good.pk, "WAITING", ""),
    ]


def test_those_that_need_a_second_person_come_last(settings: Settings) -> None:
    bulk_operator()
    cases = [refused_refund() for _ in range(3)]
    settings.FOUR_EYES_AMOUNT = {"": 1_000}
    dear = frozen(cases[:1])
    settings.FOUR_EYES_AMOUNT = {"": 100_000}
    message = refused_event()
    abandoned = frozen([cases[0], message], action="abandon")

    assert list(dear.rows.values_list("needs_approval", flat=True)) == [True]
    assert set(abandoned.rows.values_list("needs_approval", flat=True)) == {True}


def test_freezing_touches_no_case() -> None:
    bulk_operator()
    case = refused_refund()
    before = Case.objects.values().get(), Message.objects.count(), OperatorAction.objects.count()

    frozen([case])

    assert (Case.objects.values().get(), Message.objects.count(), OperatorAction.objects.count()) == before
    assert is_dead(case) == [True]


def test_many_cases_take_no_more_queries_than_few(django_assert_max_num_queries: DjangoAssertNumQueries) -> None:
    bulk_operator()
    cases = [refused_refund() for _ in range(12)]

    with django_assert_max_num_queries(25):
        run = frozen(cases)

    assert run.rows.filter(status="WAITING").count() == 12


@pytest.mark.parametrize(
    ("chosen", "action", "why"),
    [
        ([], "retry", "choose at least one case"),
        ([1], "explode", "there is no bulk action 'explode'"),
        (list(range(5_001)), "retry", "5001 cases are too many for one run: choose at most 5000"),
    ],
)
def test_what_cannot_be_a_set_is_refused(chosen: list[int], action: str, why: str) -> None:
    bulk_operator()

    with pytest.raises(Refused, match=why):
        services.freeze(case_ids=chosen, action=action, operator="grace")
    assert BulkRun.objects.count() == BulkRow.objects.count() == 0


@pytest.mark.parametrize("permissions", [("retry",), ("skip",)])
def test_it_takes_both_permissions(permissions: tuple[str, ...]) -> None:
    user = bulk_operator("grace", *permissions)
    if permissions == ("retry",):
        user.user_permissions.remove(user.user_permissions.get(codename="run_bulk"))
    case = refused_refund()

    with pytest.raises(services.MayNot, match="grace may not do this"):
        frozen([case])
    assert BulkRun.objects.count() == 0


def test_a_preview_that_nobody_started_is_forgotten_after_a_day() -> None:
    bulk_operator()
    case = refused_refund()
    old = frozen([case])
    BulkRun.objects.update(requested_at=old.requested_at - services.PREVIEW_LIFE * 1.01)

    fresh = frozen([case])

    assert list(BulkRun.objects.values_list("pk", flat=True)) == [fresh.pk]


def test_the_cases_of_a_group_are_those_that_are_open_now_the_most_urgent_first() -> None:
    settled, early, late = refused_refund(), refused_refund(), refused_refund()
    other = refused_event()
    Case.objects.filter(pk=other.pk).update(fingerprint="another one")
    Case.objects.filter(pk=late.pk).update(due_at=late.due_at.replace(year=2100))
    assert settled.saga_id is not None
    sagas.skip(saga_id=settled.saga_id, operator="olga", reason="by hand")

    assert services.open_cases_of(fingerprint=early.fingerprint) == [early.pk, late.pk]
