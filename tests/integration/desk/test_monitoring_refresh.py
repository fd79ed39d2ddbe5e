"""How the monitoring view is refreshed: by whom, how old it is, and that two refreshes do no harm."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta
from uuid import UUID

import pytest
from django.db import OperationalError, ProgrammingError, connection, transaction
from django.utils import timezone
from prometheus_client import REGISTRY

from config import trust
from desk.monitoring import refresh, selectors, sql
from desk.monitoring.models import Measurement, Minute
from desk.monitoring.refresh import measure
from tests.factories.cases import refused_refund
from tests.messaging import execute
from tests.threads import side_by_side

pytestmark = pytest.mark.django_db


def test_the_age_of_the_view_is_known() -> None:
    never = selectors.freshness()
    measure()
    fresh = selectors.freshness()
    Measurement.objects.update(at=timezone.now() - timedelta(seconds=91))
    old = selectors.freshness()

    assert (never.at, never.seconds, never.is_stale) == (None, None, True)
    assert fresh.is_stale is False
    assert fresh.seconds is not None
    assert fresh.seconds < 90
    assert old.is_stale is True
    assert fresh.at is not None
    told = REGISTRY.get_sample_value("desk_monitoring_measured_timestamp_seconds")
    assert told == pytest.approx(fresh.at.timestamp())


@pytest.fixture
def as_application() -> Iterator[None]:
    """Be the role of docs/how-to/separate-the-owner.md; it goes with the transaction of the test."""
    for statement in (
        "CREATE ROLE shop_app",
        "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO shop_app",
        "GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO shop_app",
        "SET LOCAL ROLE shop_app",
    ):
        execute(statement)
    yield
    execute("RESET ROLE")


def test_a_role_that_owns_nothing_can_measure(as_application: None) -> None:
    refused_refund()

    assert measure() is True
    assert selectors.count_open_cases() == 1
    assert trust.owned_tables() == []


@pytest.mark.parametrize(
    "change",
    [
        "REFRESH MATERIALIZED VIEW desk_live_sagas",
        "DROP MATERIALIZED VIEW desk_live_sagas",
        "INSERT INTO desk_queue (destination) VALUES ('x')",
        "CREATE OR REPLACE FUNCTION desk_refresh_monitoring() RETURNS void LANGUAGE sql AS ''",
    ],
)
def test_a_role_that_owns_nothing_cannot_bend_the_view(as_application: None, change: str) -> None:
    with pytest.raises((ProgrammingError, OperationalError)), transaction.atomic():
        execute(change)


def test_the_function_looks_nowhere_but_where_its_owner_put_things(as_application: None) -> None:
    """It has its owner's rights: tables of the caller's own must not get in its way."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT prosecdef, proconfig FROM pg_proc WHERE proname = 'desk_refresh_monitoring'")
        assert cursor.fetchone() == (True, ["search_path=public, pg_temp"])


@pytest.mark.django_db(transaction=True)
def test_whoever_comes_second_leaves_it_to_the_first() -> None:
    measured, over = threading.Event(), threading.Event()

    def hold() -> bool:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(sql.TAKE_TURN)
            measured.set()
            return over.wait(timeout=60)

    def come_second() -> tuple[bool, int]:
        try:
            assert measured.wait(timeout=60)
            return measure(), Measurement.objects.count()
        finally:
            over.set()

    assert side_by_side([hold, come_second]) == [True, (False, 0)]


@pytest.mark.django_db(transaction=True)
def test_two_at_once_leave_one_view() -> None:
    side_by_side([measure] * 4)

    assert Measurement.objects.count() == 1
    assert Minute.objects.count() == 11


def test_what_takes_too_long_leaves_the_last_view(monkeypatch: pytest.MonkeyPatch) -> None:
    measure()
    before = Measurement.objects.get().at
    refused_refund()
    slow = "SELECT pg_sleep(60), desk_refresh_monitoring()"
    monkeypatch.setattr(sql, "REFRESH", slow)
    monkeypatch.setattr(refresh, "LIMIT_SECONDS", 0.2)

    assert measure() is False
    assert Measurement.objects.get().at == before
    assert selectors.count_open_cases() == 0


def test_what_fails_otherwise_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sql, "REFRESH", "SELECT no_such_function()")

    with pytest.raises(ProgrammingError):
        measure()


def test_the_few_that_turned_back_are_found_without_reading_the_others() -> None:
    execute(
        "INSERT INTO sagas_sagainstance (id, name, version, key, status, reason, steps, data, lock) "
        "SELECT gen_random_uuid(), 'order-fulfilment', 1, gen_random_uuid(), 'COMPLETED', "
        "CASE n %% 100 WHEN 0 THEN 'out_of_stock' ELSE '' END, '{}', '{}', 'order' FROM generate_series(1, 5000) AS n"
    )
    execute("ANALYZE sagas_sagainstance")
    with connection.cursor() as cursor:
        cursor.execute(
            "EXPLAIN SELECT id FROM sagas_sagainstance WHERE id >= %s AND (reason <> '' OR status = 'ABANDONED')",
            [UUID(int=0)],
        )
        plan = "\n".join(row[0] for row in cursor.fetchall())

    assert "desk_turned_back" in plan
    assert "Seq Scan" not in plan
