"""Who stops a bulk run, and what goes on after it: by a person, by itself, by another run, for want of a right."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.contrib.auth.models import Permission, User

from desk import actions
from desk.bulk import services, worker
from desk.bulk.models import BulkRun
from sagas.engine import Refused
from sagas.models import OperatorAction
from tests.factories.bulk import WHY, bulk_operator, frozen, look_now, rows_of, running, started, state_of, work_off
from tests.factories.cases import is_dead, refund_at_last, refuse_once_more, refused_refund

pytestmark = pytest.mark.django_db(transaction=True)


def test_a_stop_leaves_the_rest_and_lets_their_cases_go() -> None:
    bulk_operator()
    cases = [refused_refund() for _ in range(3)]
    run = started(cases)
    work_off()

    services.stop(run_id=run.pk, operator="grace")
    work_off()

    assert state_of(run) == ("STOPPED", "grace has stopped it.")
    assert [status for _, status in rows_of(run)] == ["REQUESTED", "WAITING", "WAITING"]
    assert run.rows.filter(is_held=True).count() == 0
    assert [is_dead(case) for case in cases[1:]] == [[True], [True]]


def test_a_resumed_run_tries_one_first_again_unless_the_first_was_done() -> None:
    bulk_operator()
    bulk_operator("olga")
    cases = [refused_refund() for _ in range(4)]
    run = started(cases)
    work_off()
    services.stop(run_id=run.pk, operator="grace")

    services.resume(run_id=run.pk, operator="olga", origin="10.0.0.2")
    work_off()
    assert [status for _, status in rows_of(run)] == ["REQUESTED", "REQUESTED", "WAITING", "WAITING"]
    refund_at_last(cases[1])
    work_off()
    services.go_on(run_id=run.pk, operator="olga")
    services.stop(run_id=run.pk, operator="grace")
    services.resume(run_id=run.pk, operator="olga", origin="10.0.0.2")
    work_off()

    assert state_of(run) == ("DONE", "")
    assert [status for _, status in rows_of(run)] == ["REQUESTED", "DONE", "REQUESTED", "REQUESTED"]
    by = dict(OperatorAction.objects.filter(action="retry").values_list("case_id", "operator"))
    assert by == {cases[0].pk: "grace", cases[1].pk: "olga", cases[2].pk: "olga", cases[3].pk: "olga"}


def test_a_resumed_run_leaves_out_what_another_run_has_by_now() -> None:
    bulk_operator()
    bulk_operator("olga")
    cases = [refused_refund() for _ in range(3)]
    first = started(cases)
    work_off()
    services.stop(run_id=first.pk, operator="grace")
    second = started(cases[1:2], operator="olga")

    services.resume(run_id=first.pk, operator="grace")

    row = first.rows.get(position=2)
    assert (row.status, row.result) == (
        "REFUSED",
        f"bulk run {second.pk} has it: stop that run first, or wait until it has ended",
    )
    assert list(first.rows.filter(is_held=True).values_list("position", flat=True)) == [3]


def test_a_start_leaves_out_what_another_run_has_taken_since_the_preview() -> None:
    bulk_operator()
    bulk_operator("olga")
    case, other = refused_refund(), refused_refund()
    late = frozen([case, other])
    started([case], operator="olga")

    services.start(run_id=late.pk, operator="grace", reason=WHY)

    assert [status for _, status in rows_of(late)] == ["REFUSED", "WAITING"]


def test_a_run_whose_cases_are_all_taken_is_not_started() -> None:
    bulk_operator()
    bulk_operator("olga")
    case = refused_refund()
    late = frozen([case])
    started([case], operator="olga")

    with pytest.raises(services.NothingChosen, match="no case of this set is left"):
        services.start(run_id=late.pk, operator="grace", reason=WHY)
    assert state_of(late) == ("PREVIEW", "")
    assert rows_of(late) == [(case.pk, "WAITING")]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"reason": " "}, "give a reason"),
        ({"per_second": 0}, "between 1 and 50"),
        ({"per_second": 51}, "between 1 and 50"),
        ({"run_id": 0}, "there is no bulk run 0"),
    ],
)
def test_a_start_without_what_it_takes_is_refused(changes: dict[str, object], why: str) -> None:
    bulk_operator()
    run = frozen([refused_refund()])
    given = {"run_id": run.pk, "operator": "grace", "reason": WHY} | changes

    with pytest.raises(Refused, match=why):
        services.start(**given)  # type: ignore[arg-type]
    assert state_of(run) == ("PREVIEW", "")
    assert OperatorAction.objects.count() == 0


@pytest.mark.parametrize(
    ("service", "phase"),
    [(services.go_on, "RUNNING"), (services.resume, "RUNNING"), (services.stop, "DONE"), (services.stop, "PREVIEW")],
)
def test_a_button_of_another_phase_changes_nothing(service: Callable[..., None], phase: str) -> None:
    bulk_operator()
    run = frozen([refused_refund()])
    BulkRun.objects.update(phase=phase)

    with pytest.raises(services.WrongPhase, match=f"bulk run {run.pk} is .* by now; look again"):
        service(run_id=run.pk, operator="grace")
    assert state_of(run)[0] == phase
    assert OperatorAction.objects.count() == 0


@pytest.mark.parametrize("lost", ["run_bulk", "retry_case", "is_active", "is_staff"])
def test_a_person_who_loses_the_right_meanwhile_stops_the_run(lost: str) -> None:
    user = bulk_operator("grace", "retry")
    cases = [refused_refund() for _ in range(3)]
    run = running(cases)
    worker.step()
    if lost.startswith("is_"):
        User.objects.filter(pk=user.pk).update(**{lost: False})
    else:
        user.user_permissions.remove(Permission.objects.get(codename=lost))

    work_off()

    phase, note = state_of(run)
    assert phase == "STOPPED"
    assert note.startswith("It has stopped by itself: grace may not do this: it takes the permission ")
    assert [status for _, status in rows_of(run)] == ["REQUESTED", "WAITING", "WAITING"]


def test_failures_in_a_row_stop_the_run_and_a_resumed_one_tries_one_first() -> None:
    bulk_operator()
    cases = [refused_refund() for _ in range(8)]
    run = running(cases)
    BulkRun.objects.update(canary_position=1)
    for _ in range(6):
        worker.step()
        BulkRun.objects.update(due_at=run.requested_at)
    refund_at_last(cases[0])
    for case in cases[1:6]:
        refuse_once_more(case)
    look_now()

    work_off()

    assert state_of(run) == ("STOPPED", "It has stopped by itself: the last 5 whose result is known have failed again.")
    assert [is_dead(case) for case in cases[6:]] == [[True], [True]]
    services.resume(run_id=run.pk, operator="grace")
    assert state_of(run) == ("CANARY", "")


def test_a_success_in_between_keeps_a_run_going() -> None:
    bulk_operator()
    cases = [refused_refund() for _ in range(6)]
    run = running(cases)
    for _ in range(5):
        worker.step()
        BulkRun.objects.update(due_at=run.requested_at)
    for case in cases[:4]:
        refuse_once_more(case)
    refund_at_last(cases[4])
    look_now()

    work_off()

    assert [status for _, status in rows_of(run)] == ["FAILED_AGAIN"] * 4 + ["DONE", "REQUESTED"]


def test_a_mistake_of_ours_stops_the_run_and_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    bulk_operator()
    cases = [refused_refund() for _ in range(2)]
    run = running(cases)

    def fail(**_given: object) -> str:
        raise KeyError("amount")

    monkeypatch.setattr(actions, "carry_out", fail)
    work_off()

    assert state_of(run) == (
        "STOPPED",
        f"It has stopped by itself, since case {cases[0].pk} could not be done: KeyError.",
    )
    assert run.rows.get(position=1).result == "it could not be done: KeyError: 'amount'"
    assert [status for _, status in rows_of(run)] == ["REFUSED", "WAITING"]


def test_stop_and_resume_are_logged_by_whoever_pressed() -> None:
    bulk_operator()
    bulk_operator("olga")
    run = started([refused_refund(), refused_refund()])

    services.stop(run_id=run.pk, operator="olga", origin="10.0.0.9")
    services.resume(run_id=run.pk, operator="grace")

    lines = OperatorAction.objects.order_by("pk").values_list("action", "operator", "origin", "reference")
    assert list(lines) == [
        ("bulk retry: start", "grace", "10.0.0.1", f"bulk run {run.pk}"),
        ("bulk retry: stop", "olga", "10.0.0.9", f"bulk run {run.pk}"),
        ("bulk retry: resume", "grace", "", f"bulk run {run.pk}"),
    ]
