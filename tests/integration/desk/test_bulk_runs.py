"""A bulk run from start to end: one first, then the others; an honest result for each; logged, counted, throttled."""

from __future__ import annotations

import time

import pytest
from pytest_django import Settings

from desk.bulk import metrics, services, worker
from desk.bulk.models import BulkRow, BulkRun
from sagas import services as sagas
from sagas.engine import Refused
from sagas.models import Case, OperatorAction
from tests.factories.bulk import WHY, bulk_operator, frozen, look_now, rows_of, running, started, state_of, work_off
from tests.factories.cases import is_dead, refund_at_last, refuse_once_more, refused_event, refused_refund
from tests.factories.people import approved_by

pytestmark = pytest.mark.django_db(transaction=True)


def test_one_is_tried_first_and_the_others_wait_for_what_comes_of_it() -> None:
    bulk_operator()
    cases = [refused_refund() for _ in range(3)]

    run = started(cases)
    work_off()

    assert rows_of(run) == [(cases[0].pk, "REQUESTED"), (cases[1].pk, "WAITING"), (cases[2].pk, "WAITING")]
    assert state_of(run) == ("CANARY", "")
    assert [is_dead(case) for case in cases] == [[False], [True], [True]]


def test_once_the_first_is_done_a_person_is_asked() -> None:
    bulk_operator()
    cases = [refused_refund() for _ in range(2)]
    run = started(cases)
    work_off()
    refund_at_last(cases[0])

    work_off()

    assert state_of(run) == ("WAITING", f"The first one, case {cases[0].pk}, is done. Go on with the others?")
    assert rows_of(run) == [(cases[0].pk, "DONE"), (cases[1].pk, "WAITING")]
    assert is_dead(cases[1]) == [True]


def test_with_the_tick_it_goes_on_by_itself() -> None:
    bulk_operator()
    cases = [refused_refund() for _ in range(3)]
    run = started(cases, goes_on=True)
    work_off()
    refund_at_last(cases[0])

    work_off()
    work_off()

    assert rows_of(run) == [(cases[0].pk, "DONE"), (cases[1].pk, "REQUESTED"), (cases[2].pk, "REQUESTED")]
    assert state_of(run) == ("DONE", "")


@pytest.mark.parametrize("goes_on", [False, True])
def test_if_the_first_fails_again_the_run_stops_by_itself(goes_on: bool) -> None:
    bulk_operator()
    cases = [refused_refund() for _ in range(2)]
    run = started(cases, goes_on=goes_on)
    work_off()
    again = refuse_once_more(cases[0])

    work_off()

    note = f"It has stopped by itself: the first one, case {cases[0].pk}, has failed again."
    assert state_of(run) == ("STOPPED", note)
    first = run.rows.get(position=1)
    assert (first.status, first.next_case_id) == ("FAILED_AGAIN", again.pk)
    assert first.result.startswith("failed again: ")
    assert is_dead(cases[1]) == [True]
    assert (run.stopped_by, run.rows.filter(is_held=True).count()) == ("", 0)


def test_after_some_minutes_without_a_result_a_person_decides() -> None:
    bulk_operator()
    cases = [refused_refund() for _ in range(2)]
    run = started(cases, goes_on=True)
    work_off()
    run.rows.filter(position=1).update(at=run.requested_at - worker.CANARY_PATIENCE)

    work_off()

    phase, note = state_of(run)
    assert phase == "WAITING"
    assert note.startswith(f"The first one, case {cases[0].pk}, has had no result for 2 minutes.")


def test_one_that_was_refused_proves_nothing_so_the_next_is_tried() -> None:
    bulk_operator()
    cases = [refused_refund() for _ in range(3)]
    run = started(cases)
    assert cases[0].saga_id is not None
    sagas.skip(saga_id=cases[0].saga_id, operator="olga", reason="by hand")

    work_off()
    work_off()

    assert [status for _, status in rows_of(run)] == ["REFUSED", "REQUESTED", "WAITING"]
    assert run.rows.get(position=1).result == "closed meanwhile: skipped"


def test_going_on_does_the_others_and_ends() -> None:
    bulk_operator()
    cases = [refused_refund() for _ in range(3)]
    run = started(cases)
    work_off()
    refund_at_last(cases[0])
    work_off()

    services.go_on(run_id=run.pk, operator="grace")
    work_off()

    assert [status for _, status in rows_of(run)] == ["DONE", "REQUESTED", "REQUESTED"]
    run.refresh_from_db()
    assert (run.phase, run.ended_at is not None) == ("DONE", True)
    assert [is_dead(case) for case in cases[1:]] == [[False], [False]]


def test_what_becomes_of_requested_rows_later_is_told_too() -> None:
    bulk_operator()
    good, bad, open_ended = refused_refund(), refused_refund(), refused_refund()
    run = running([good, bad, open_ended])
    work_off()
    refund_at_last(good)
    again = refuse_once_more(bad)

    settled = look_now()

    assert settled == 2
    assert [status for _, status in rows_of(run)] == ["DONE", "FAILED_AGAIN", "REQUESTED"]
    assert run.rows.get(position=2).next_case_id == again.pk


def test_a_saga_that_changed_since_it_was_chosen_is_refused() -> None:
    bulk_operator()
    case = refused_refund()
    run = running([case])
    assert case.saga_id is not None
    sagas.retry(saga_id=case.saga_id, operator="olga", reason="first")
    again = refuse_once_more(case)
    # The set names the new case as if it had been the one that was chosen: only the state gives it away.
    run.rows.update(case_id=again.pk)

    work_off()

    row = run.rows.get()
    assert (row.status, row.result) == (
        "REFUSED",
        "the saga has changed since you looked: it is SUSPENDED now; look again",
    )
    assert is_dead(again) == [True]


def test_a_case_that_opens_meanwhile_is_not_touched() -> None:
    bulk_operator()
    run = running([refused_refund()])
    newcomer = refused_refund()

    work_off()

    assert run.rows.count() == 1
    assert is_dead(newcomer) == [True]
    assert Case.objects.get(pk=newcomer.pk).status == "OPEN"


def test_money_rows_become_requests_that_a_second_person_approves(settings: Settings) -> None:
    settings.FOUR_EYES_AMOUNT = {"": 1_000}
    bulk_operator()
    cases = [refused_refund() for _ in range(2)]
    run = started(cases)

    work_off()
    work_off()

    phase, note = state_of(run)
    assert (phase, note.startswith(f"The first one, case {cases[0].pk}, awaits the approval")) == ("WAITING", True)
    services.go_on(run_id=run.pk, operator="grace")
    work_off()
    assert [status for _, status in rows_of(run)] == ["AWAITS_APPROVAL", "AWAITS_APPROVAL"]
    assert [is_dead(case) for case in cases] == [[True], [True]]
    approved_by("ada")
    look_now()
    assert [status for _, status in rows_of(run)] == ["AWAITS_APPROVAL", "REQUESTED"]


def test_resolving_takes_a_reference_which_every_line_gets() -> None:
    bulk_operator()
    cases = [refused_refund() for _ in range(2)]
    run = frozen(cases, action="resolve")
    with pytest.raises(Refused, match="under which reference"):
        services.start(run_id=run.pk, operator="grace", reason=WHY)

    services.start(run_id=run.pk, operator="grace", reason=WHY, reference="BATCH-7", goes_on=True)
    work_off()

    assert OperatorAction.objects.get(action="resolve").reference == "BATCH-7"
    assert Case.objects.get(pk=cases[0].pk).reference == "BATCH-7"


def test_every_row_has_a_line_in_the_operator_log_and_so_has_the_run() -> None:
    bulk_operator()
    good, closed, message = refused_refund(), refused_refund(), refused_event()
    run = running([good, closed, message])
    assert closed.saga_id is not None
    sagas.skip(saga_id=closed.saga_id, operator="olga", reason="by hand")

    work_off()

    lines = OperatorAction.objects.filter(operator="grace").order_by("pk")
    assert list(lines.values_list("action", "case_id", "result")) == [
        ("bulk retry: start", None, "done"),
        ("retry", good.pk, "requested"),
        ("retry", closed.pk, "refused: closed meanwhile: skipped"),
        ("retry", message.pk, "requested"),
        ("bulk retry: end", None, "done"),
    ]
    assert {line.reason for line in lines} == {WHY}
    assert {line.origin for line in lines} == {"10.0.0.1"}
    assert lines[4].seen["outcomes"] == {"REQUESTED": 2, "REFUSED": 1}
    assert list(run.rows.order_by("position").values_list("action_id", flat=True)) == [line.pk for line in lines[1:4]]


def test_the_throttle_holds() -> None:
    bulk_operator()
    run = running([refused_refund() for _ in range(4)])
    BulkRun.objects.update(per_second=2)

    began = time.monotonic()
    assert worker.work(seconds=1.2) == 3
    assert time.monotonic() - began < 3
    assert [status for _, status in rows_of(run)] == ["REQUESTED"] * 3 + ["WAITING"]


def test_a_look_with_nothing_to_do_is_over_at_once() -> None:
    began = time.monotonic()

    assert worker.work() == 0
    assert time.monotonic() - began < worker.SHIFT_SECONDS


def test_rows_are_counted_by_outcome() -> None:
    bulk_operator()
    case = refused_refund()
    before = {name: metrics.ROWS.labels("retry", name)._value.get() for name in ("requested", "done")}
    running([case])
    work_off()
    refund_at_last(case)

    look_now()

    after = {name: metrics.ROWS.labels("retry", name)._value.get() for name in ("requested", "done")}
    assert {name: after[name] - before[name] for name in after} == {"requested": 1, "done": 1}


def test_a_row_that_stays_open_is_looked_at_less_often_but_never_forgotten() -> None:
    bulk_operator()
    run = running([refused_refund()])
    work_off()
    BulkRow.objects.update(at=run.requested_at.replace(year=2020))

    look_now()

    row = run.rows.get()
    assert row.look_at is not None
    assert row.status == "REQUESTED"
    assert worker.follow() == 0
    assert (row.look_at - run.requested_at) < 3 * worker.LATEST_LOOK
