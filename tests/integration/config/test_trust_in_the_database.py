"""The role of the product owns nothing: it can write history, and neither change nor drop it."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured
from django.db import ProgrammingError, connection, connections, transaction
from django.utils import timezone

from config import trust
from outbox import retention

pytestmark = pytest.mark.django_db
GRANTS = """
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO shop_app;
GRANT USAGE, SELECT ON ALL SEQUENCES IN SCHEMA public TO shop_app;
"""


def execute(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)


@pytest.fixture
def as_application() -> Iterator[None]:
    """Be the role of the how-to guide; it goes with the transaction of the test."""
    execute("CREATE ROLE shop_app")
    execute(GRANTS)
    execute("SET LOCAL ROLE shop_app")
    yield
    execute("RESET ROLE")


def test_an_owner_is_found_out() -> None:
    assert trust.owned_tables() == [
        "outbox_attempt",
        "outbox_gateway_call",
        "outbox_message",
        "sagas_casenote",
        "sagas_operatoraction",
    ]


def test_who_owns_nothing_is_trusted(as_application: None) -> None:
    assert trust.owned_tables() == []


def test_production_does_not_start_as_the_owner(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.PRODUCTION = True
    monkeypatch.setattr(connections["default"], "close", lambda: None)

    with pytest.raises(ImproperlyConfigured, match="could rewrite outbox_attempt, outbox_gateway_call, outbox_message"):
        trust.require_distrust()
    assert [problem.id for problem in run_checks(tags=["database"], databases=["default"])] == ["saga_bridge.E001"]


def test_production_starts_as_another_role(
    as_application: None, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.PRODUCTION = True
    monkeypatch.setattr(connections["default"], "close", lambda: None)

    trust.require_distrust()

    assert trust.check_owner(databases=["default"]) == []


def test_a_database_that_is_away_holds_up_no_start(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.PRODUCTION = True
    asked = []

    def away(**_: Any) -> list[str]:
        asked.append(1)
        raise ProgrammingError("away")

    monkeypatch.setattr(trust, "owned_tables", away)
    monkeypatch.setattr(connections["default"], "close", lambda: None)

    trust.require_distrust()

    assert asked == [1]


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE outbox_message DISABLE TRIGGER ALL",
        "ALTER TABLE outbox_attempt DISABLE TRIGGER outbox_append_only",
        "ALTER TABLE outbox_gateway_call DISABLE TRIGGER outbox_append_only",
        "SET session_replication_role = replica",
        "TRUNCATE outbox_message",
        "DROP TABLE outbox_message",
        "CREATE OR REPLACE FUNCTION outbox_refuse_change() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END'",
    ],
)
def test_the_product_cannot_switch_off_the_guards(as_application: None, change: str) -> None:
    with pytest.raises(ProgrammingError, match=r"permission denied|must be owner"), transaction.atomic():
        execute(change)


def test_the_product_has_partitions_made_and_cannot_drop_them(as_application: None) -> None:
    retention.create_partitions(days=40)

    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass('outbox_message_' || to_char(now() + interval '40 days', 'YYYYMMDD'))")
        assert cursor.fetchone()[0] is not None
        name = f"outbox_message_{timezone.now():%Y%m%d}"
    assert retention._change_log(f"DROP TABLE {name}", using="default") is False
