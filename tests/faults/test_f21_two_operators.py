"""F21: two operators at one case, one with a stale page, and a bulk retry while new failures arrive."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from desk import bulk
from outbox.models import Message
from sagas import services
from sagas.engine import Refused
from sagas.models import Case, OperatorAction, SagaInstance
from tests.factories.cases import deliveries_of, is_dead, refused_event, refused_refund
from tests.factories.people import colleague
from tests.threads import side_by_side

pytestmark = pytest.mark.django_db(transaction=True)

WHY: dict[str, Any] = {"reason": "the customer called"}


def releases(case: Case) -> int:
    """Return how often the engine has asked for what comes after the stuck step."""
    return Message.objects.filter(ordering_key=case.key, type="inventory.release").count()


def told(act: Callable[..., str], **given: Any) -> str:
    """Return what came of it, or why it was refused."""
    try:
        return act(**given)
    except Refused as refusal:
        return f"refused: {refusal}"


@pytest.mark.parametrize("times", range(3))
def test_f21_of_two_who_resolve_one_case_at_once_one_wins_and_the_other_is_told(times: int) -> None:
    """Both have the same page before them and press at the same moment; what follows is sent once."""
    case = refused_refund()
    assert case.saga is not None
    given = {**WHY, "saga_id": case.saga.pk, "seen_at": case.saga.updated_at}

    results = side_by_side(
        [
            lambda name=name: told(services.resolve, operator=name, reference=f"SEPA-{name}", **given)  # type: ignore[misc]
            for name in ("grace", "olga", "eve", "ada")
        ]
    )

    assert sorted(results)[-1] == "requested"
    assert [result.split(":")[0] for result in sorted(results)[:3]] == ["refused"] * 3
    case.refresh_from_db()
    winner = OperatorAction.objects.get()
    assert (case.status, case.reference) == ("CLOSED", f"SEPA-{winner.operator}")
    assert releases(case) == 1


def test_f21_two_who_want_different_things_do_not_both_get_them() -> None:
    """One retries, the other skips."""
    case = refused_refund()
    given = {**WHY, "saga_id": case.saga_id}

    results = side_by_side(
        [
            lambda: told(services.retry, operator="grace", **given),
            lambda: told(services.skip, operator="olga", **given),
        ]
    )

    assert sorted(result.split(":")[0] for result in results) == ["refused", "requested"]
    done = OperatorAction.objects.get()
    saga = SagaInstance.objects.get(key=case.key)
    assert saga.steps["charge-payment"]["status"] == {"retry": "COMPENSATING", "skip": "SKIPPED"}[done.action]


def test_f21_a_stale_page_does_nothing_and_says_why() -> None:
    """She opened it before lunch; a colleague has retried since, and it has failed again."""
    case = refused_refund()
    client = Client()
    client.force_login(colleague("grace", "view_case", "skip_case"))
    url = reverse("admin:sagas_case_change", args=[case.pk]).replace("/change/", "/skip/")
    seen = re.search(r'name="seen" value="([^"]+)"', client.get(url).content.decode())
    assert seen is not None
    services.retry(saga_id=case.saga_id, operator="olga", **WHY)  # type: ignore[arg-type]
    before = (SagaInstance.objects.values_list("steps", "updated_at").get(), OperatorAction.objects.count())

    answer = client.post(url, {"reason": "it does not matter", "seen": seen[1]}, follow=True)

    assert "Nothing was changed: the saga has changed since you looked" in answer.content.decode()
    assert (SagaInstance.objects.values_list("steps", "updated_at").get(), OperatorAction.objects.count()) == before


def test_f21_a_bulk_retry_touches_the_frozen_set_while_new_failures_arrive() -> None:
    """Failures of the same kind come in between, from other threads too: their cases stay as they are."""
    frozen = [refused_refund() for _ in range(8)]
    chosen = [case.pk for case in frozen]

    results, *arrived = side_by_side(
        [lambda: bulk.retry_cases(case_ids=chosen, operator="grace"), *[refused_refund] * 6]
    )

    assert results == dict.fromkeys(chosen, "requested")
    assert {case.status for case in Case.objects.filter(pk__in=chosen)} == {"CLOSED"}
    assert [is_dead(case) for case in frozen] == [[False]] * 8
    assert all(isinstance(case, Case) for case in arrived)
    others = Case.objects.exclude(pk__in=chosen)
    assert (others.count(), set(others.values_list("status", flat=True))) == (6, {"OPEN"})
    assert [is_dead(case) for case in others] == [[True]] * 6
    assert OperatorAction.objects.count() == 8


def test_f21_a_bulk_retry_says_of_every_case_what_came_of_it() -> None:
    """One was settled by a colleague, one does not exist, one is of a message, one is in order."""
    settled, good, message = refused_refund(), refused_refund(), refused_event()
    services.skip(saga_id=settled.saga_id, operator="olga", **WHY)  # type: ignore[arg-type]

    results = bulk.retry_cases(case_ids=[settled.pk, good.pk, 0, message.pk, good.pk], operator="grace")

    assert results == {
        settled.pk: "refused: closed already: skipped",
        good.pk: "requested",
        0: "refused: there is no such case",
        message.pk: "requested",
    }
    assert list(deliveries_of(message).filter(destination="notifications").values_list("dead_at", flat=True)) == [None]


def test_f21_two_bulk_retries_at_once_do_everything_once() -> None:
    """Each case is won by one of them; the other one is told of each."""
    cases = [refused_refund() for _ in range(6)]
    chosen = [case.pk for case in cases]

    first, second = side_by_side(
        [
            lambda: bulk.retry_cases(case_ids=chosen, operator="grace"),
            lambda: bulk.retry_cases(case_ids=chosen[::-1], operator="olga"),
        ]
    )

    for case in cases:
        results = sorted([first[case.pk].split(":")[0], second[case.pk].split(":")[0]])
        assert results == ["refused", "requested"]
        assert OperatorAction.objects.filter(key=case.key).count() == 1


def test_f21_on_the_desk_whole_filters_cannot_be_retried_unseen() -> None:
    """The ticks are the frozen set; "all that match" would take in what nobody has seen."""
    ticked, other = refused_refund(), refused_refund()
    User.objects.create(username="admin", is_staff=True, is_superuser=True)
    client = Client()
    client.force_login(User.objects.get(username="admin"))
    url = reverse("admin:sagas_case_changelist")
    form = {"action": "retry_selected", "_selected_action": [str(ticked.pk)]}

    everything = client.post(url, form | {"select_across": "1"}, follow=True)
    assert [is_dead(ticked), is_dead(other)] == [[True], [True]]
    answer = client.post(url, form, follow=True)

    assert "choose the cases that you have seen" in everything.content.decode()
    assert f"Case {ticked.pk}: requested" in answer.content.decode()
    assert [is_dead(ticked), is_dead(other)] == [[False], [True]]
