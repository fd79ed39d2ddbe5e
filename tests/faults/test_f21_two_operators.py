"""F21: two operators at one case, one with a stale page, and a bulk retry while new failures arrive."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from desk.bulk import services as bulk
from desk.bulk import worker
from desk.bulk.models import BulkRun
from outbox.models import Message
from sagas import services
from sagas.engine import Refused
from sagas.models import Case, OperatorAction, SagaInstance
from tests.factories.bulk import bulk_operator, frozen, rows_of, running, work_off
from tests.factories.cases import deliveries_of, is_dead, refund_at_last, refused_event, refused_refund
from tests.factories.people import colleague
from tests.threads import side_by_side

pytestmark = pytest.mark.django_db(transaction=True)

WHY: dict[str, Any] = {"reason": "the customer called"}


def releases(case: Case) -> int:
    """Return how often the engine has asked for what comes after the stuck step."""
    return Message.objects.filter(ordering_key=case.key, type="inventory.release").count()


def told(act: Callable[..., str | None], **given: Any) -> str:
    """Return what came of it, or why it was refused."""
    try:
        return act(**given) or "started"
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

    assert answer.status_code == 409
    assert "the saga has changed since you looked" in answer.content.decode().lower()
    assert (SagaInstance.objects.values_list("steps", "updated_at").get(), OperatorAction.objects.count()) == before


def test_f21_a_bulk_retry_touches_the_frozen_set_while_new_failures_arrive() -> None:
    """Failures of the same kind come in between, from other threads too: their cases stay as they are."""
    bulk_operator()
    cases = [refused_refund() for _ in range(8)]
    run = running(cases)

    works: list[Callable[[], Any]] = [worked_off, *[refused_refund] * 6]
    _, *arrived = side_by_side(works)

    assert rows_of(run) == [(case.pk, "REQUESTED") for case in cases]
    assert set(Case.objects.filter(pk__in=[case.pk for case in cases]).values_list("status", flat=True)) == {"CLOSED"}
    assert [is_dead(case) for case in cases] == [[False]] * 8
    others = Case.objects.exclude(pk__in=[case.pk for case in cases])
    assert sorted(others.values_list("pk", "status")) == sorted((case.pk, "OPEN") for case in arrived)
    assert [is_dead(case) for case in others] == [[True]] * 6
    assert OperatorAction.objects.filter(action="retry").count() == 8


def test_f21_a_bulk_retry_says_of_every_case_what_came_of_it() -> None:
    """One is settled before, one meanwhile, one does not exist, one is of a message, one is in order."""
    bulk_operator()
    before, meanwhile, good, message = refused_refund(), refused_refund(), refused_refund(), refused_event()
    services.skip(saga_id=before.saga_id, operator="olga", **WHY)  # type: ignore[arg-type]
    chosen = [before.pk, meanwhile.pk, good.pk, 0, message.pk, good.pk]
    run = bulk.freeze(case_ids=chosen, action="retry", operator="grace")
    bulk.start(run_id=run.pk, operator="grace", goes_on=True, **WHY)
    services.skip(saga_id=meanwhile.saga_id, operator="olga", **WHY)  # type: ignore[arg-type]

    work_off()
    work_off()
    refund_at_last(good)
    work_off()
    work_off()

    assert dict(run.rows.values_list("case_id", "result")) == {
        before.pk: "closed already: skipped",
        meanwhile.pk: "closed meanwhile: skipped",
        good.pk: "done",
        0: "there is no such case",
        message.pk: "requested",
    }
    assert list(deliveries_of(message).filter(destination="notifications").values_list("dead_at", flat=True)) == [None]


def test_f21_two_bulk_retries_at_once_do_everything_once() -> None:
    """Both choose the same cases and press at once: one run holds them, and the other is told which one does."""
    bulk_operator("grace")
    bulk_operator("olga")
    cases = [refused_refund() for _ in range(6)]
    runs = {"grace": frozen(cases), "olga": frozen(cases[::-1], operator="olga")}

    results = side_by_side(
        [
            lambda name=name, run=run: told(bulk.start, run_id=run.pk, operator=name, goes_on=True, **WHY)  # type: ignore[misc]
            for name, run in runs.items()
        ]
    )
    work_off()

    assert sorted(results) == ["refused: no case of this set is left that can be acted on", "started"]
    winner = BulkRun.objects.get(phase="CANARY")
    assert winner.rows.filter(status="WAITING", is_held=True).count() == 5
    assert OperatorAction.objects.filter(action="retry").count() == 1


def test_f21_one_case_acted_on_by_hand_and_in_bulk_at_once_is_done_once() -> None:
    """A colleague presses on the page of each case while the run comes to it: one of them wins, the other is told."""
    bulk_operator()
    cases = [refused_refund() for _ in range(6)]
    run = running(cases)

    _, *by_hand = side_by_side(
        [
            worked_off,
            *[
                lambda case=case: told(services.skip, saga_id=case.saga_id, operator="olga", seen_at=seen(case), **WHY)
                for case in cases
            ],
        ]
    )

    in_bulk = dict(run.rows.values_list("case_id", "status"))
    for case, result in zip(cases, by_hand, strict=True):
        assert sorted([in_bulk[case.pk].lower(), result.split(":")[0]]) == ["refused", "requested"]
        assert OperatorAction.objects.filter(key=case.key, result="requested").count() == 1


def test_f21_on_the_desk_whole_filters_cannot_be_retried_unseen() -> None:
    """The ticks are the frozen set; "all that match" would take in what nobody has seen."""
    ticked, other = refused_refund(), refused_refund()
    client = Client()
    client.force_login(bulk_operator())
    url = reverse("admin:sagas_case_changelist")
    form = {"action": "bulk_retry", "_selected_action": [str(ticked.pk)]}

    everything = client.post(url, form | {"select_across": "1"}, follow=True)
    assert BulkRun.objects.count() == 0
    client.post(url, form)

    assert "choose the cases that you have seen" in everything.content.decode()
    assert rows_of(BulkRun.objects.get()) == [(ticked.pk, "WAITING")]
    assert [is_dead(ticked), is_dead(other)] == [[True], [True]]


def seen(case: Case) -> datetime:
    """Return when the saga of a case had last changed, as the page of the case knows it."""
    assert case.saga is not None
    return case.saga.updated_at


def worked_off() -> str:
    """Do all rows of all runs, as a worker does."""
    while BulkRun.objects.filter(phase__in=["CANARY", "RUNNING"]).exists():
        worker.work(seconds=0.2)
    return "over"
