"""Several workers at one bulk run: each row once, whoever comes, stops or dies meanwhile."""

from __future__ import annotations

import threading

import pytest
from django.db import connection, connections, transaction

from desk.bulk import services, worker
from desk.bulk.models import BulkRow, BulkRun
from outbox.models import Message
from sagas.models import OperatorAction
from tests.factories.bulk import bulk_operator, frozen, running, work_off
from tests.factories.cases import is_dead, refund_at_last, refused_refund
from tests.threads import side_by_side

pytestmark = pytest.mark.django_db(transaction=True)

WORKERS = 4


def until_over() -> int:
    """Work as long as there is anything to do; return how many steps it took."""
    steps = 0
    while BulkRun.objects.filter(phase__in=["CANARY", "RUNNING"]).exists():
        steps += worker.work(seconds=0.2)
    return steps


def test_several_workers_do_every_row_once() -> None:
    bulk_operator()
    cases = [refused_refund() for _ in range(12)]
    refunds = Message.objects.filter(type="payment.refund").count()
    run = running(cases)

    steps = side_by_side([until_over] * WORKERS)

    assert sum(steps) == len(cases) + 1
    assert set(run.rows.values_list("status", flat=True)) == {"REQUESTED"}
    done = OperatorAction.objects.filter(action="retry").values_list("case_id", flat=True)
    assert sorted(done) == sorted(case.pk for case in cases)  # type: ignore[type-var]
    assert OperatorAction.objects.filter(action="bulk retry: end").count() == 1
    assert Message.objects.filter(type="payment.refund").count() == refunds


def test_two_runs_are_worked_on_side_by_side() -> None:
    bulk_operator()
    bulk_operator("olga")
    first, second = [refused_refund() for _ in range(4)], [refused_refund() for _ in range(4)]
    runs = [running(first), running(second, operator="olga")]

    side_by_side([until_over] * 2)

    assert [list(run.rows.values_list("status", flat=True)) for run in runs] == [["REQUESTED"] * 4] * 2
    for name, cases in (("grace", first), ("olga", second)):
        lines = OperatorAction.objects.filter(action="retry", operator=name)
        assert sorted(lines.values_list("key", flat=True), key=str) == sorted((case.key for case in cases), key=str)


def test_of_two_who_start_runs_with_a_case_in_common_one_gets_it() -> None:
    bulk_operator()
    bulk_operator("olga")
    shared, mine, hers = refused_refund(), refused_refund(), refused_refund()
    runs = {"grace": frozen([shared, mine]), "olga": frozen([hers, shared], operator="olga")}

    side_by_side(
        [
            lambda name=name, run=run: services.start(run_id=run.pk, operator=name, reason="at once")  # type: ignore[misc]
            for name, run in runs.items()
        ]
    )

    of_shared = BulkRow.objects.filter(case_id=shared.pk)
    assert sorted(of_shared.values_list("status", "is_held")) == [("REFUSED", False), ("WAITING", True)]
    assert BulkRow.objects.filter(is_held=True).count() == 3


def test_a_press_of_start_at_the_same_moment_starts_once() -> None:
    bulk_operator()
    run = frozen([refused_refund()])

    def press() -> str:
        try:
            services.start(run_id=run.pk, operator="grace", reason="at once")
        except services.WrongPhase as refusal:
            return str(refusal)
        return "started"

    assert sorted(side_by_side([press] * 3))[-1] == "started"
    assert OperatorAction.objects.filter(action="bulk retry: start").count() == 1


def test_no_row_is_done_after_a_stop_has_answered() -> None:
    bulk_operator()
    run = running([refused_refund() for _ in range(20)])
    done_at_stop: list[int] = []

    def stop() -> int:
        while OperatorAction.objects.filter(action="retry").count() < 3:
            pass
        services.stop(run_id=run.pk, operator="grace")
        done_at_stop.append(OperatorAction.objects.filter(action="retry").count())
        return 0

    side_by_side([until_over, until_over, stop])

    assert 3 <= done_at_stop[0] < 20
    assert OperatorAction.objects.filter(action="retry").count() == done_at_stop[0]
    assert run.rows.filter(status="WAITING", is_held=False).count() == 20 - done_at_stop[0]


def test_a_worker_whose_connection_dies_in_the_middle_of_a_row_has_done_nothing() -> None:
    """The server ends it while it holds its locks; the next worker does that row, and all after it."""
    bulk_operator()
    cases = [refused_refund() for _ in range(2)]
    run = running(cases)
    acted, dead = threading.Event(), threading.Event()
    pid: list[int] = []

    def die() -> None:
        try:
            with transaction.atomic():
                with connection.cursor() as cursor:
                    cursor.execute("SELECT pg_backend_pid()")
                    pid.append(cursor.fetchone()[0])
                worker.step()
                acted.set()
                assert dead.wait(timeout=30)
                transaction.set_rollback(True)
        finally:
            connections.close_all()

    victim = threading.Thread(target=die)
    victim.start()
    assert acted.wait(timeout=30)
    assert worker.step() is False
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s, 10000)", pid)
    dead.set()
    victim.join(timeout=30)
    assert [is_dead(case) for case in cases] == [[True], [True]]

    work_off()

    assert [is_dead(case) for case in cases] == [[False], [False]]
    assert OperatorAction.objects.filter(action="retry").count() == 2
    assert set(run.rows.values_list("status", flat=True)) == {"REQUESTED"}


def test_several_workers_who_look_what_became_of_rows_count_each_once() -> None:
    bulk_operator()
    cases = [refused_refund() for _ in range(6)]
    run = running(cases)
    work_off()
    for case in cases:
        refund_at_last(case)

    settled = side_by_side([worker.follow] * WORKERS)

    assert sum(settled) == 6
    assert set(run.rows.values_list("status", flat=True)) == {"DONE"}
