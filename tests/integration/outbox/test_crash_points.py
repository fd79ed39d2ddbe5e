"""Crash points: found by running, hit where the plan says, and not there at all unless they are asked for."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import OperationalError, connection, connections, transaction

from outbox import crash_points
from outbox.crash_points import CrashPoints, Side, Target
from outbox.crashing.base import DatabaseWrapper, tables_written

POINT = "commit crash_probe"
ALIAS = "crashing"


@pytest.fixture
def points(tmp_path: Path) -> CrashPoints:
    """Return crash points in a folder of their own."""
    return CrashPoints(tmp_path / "points")


@pytest.fixture
def probe(transactional_db: None) -> Iterator[None]:
    """Make a table to write into."""
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE crash_probe (number int)")
        yield
        cursor.execute("DROP TABLE crash_probe")


@pytest.fixture
def crashing(points: CrashPoints, probe: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[DatabaseWrapper]:
    """Return a second connection to the same database, with crash points."""
    monkeypatch.setattr(crash_points, "POINTS", points)
    wrapper = DatabaseWrapper({**connection.settings_dict}, ALIAS)
    connections[ALIAS] = wrapper
    yield wrapper
    wrapper.close()
    del connections[ALIAS]


def written() -> list[int]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT number FROM crash_probe ORDER BY number")
        return [number for (number,) in cursor.fetchall()]


def write(points_folder: Path, numbers: int = 3) -> tuple[int, str]:
    """Write numbers in a process of its own; return how it ended and what it said."""
    settings = connection.settings_dict
    address = f"{settings['USER']}:{settings['PASSWORD']}@{settings['HOST']}:{settings['PORT']}/{settings['NAME']}"
    process = subprocess.run(
        [sys.executable, "-m", "tests.integration.outbox.crash_writer", "crash_probe", str(numbers)],
        env={**os.environ, "DATABASE_URL": f"postgresql://{address}", "CRASH_POINTS": str(points_folder), "ROLE": "w"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    return process.returncode, process.stdout.strip()


def test_without_the_setting_there_are_no_points() -> None:
    assert crash_points.POINTS is None
    assert connection.settings_dict["ENGINE"] == "outbox.postgres"
    assert crash_points.call("bank charge", lambda: "done", lost=AssertionError) == "done"


def test_production_refuses_them(tmp_path: Path) -> None:
    process = subprocess.run(
        [sys.executable, "-c", "import config.settings"],
        env={
            **os.environ,
            "ENVIRONMENT": "production",
            "SECRET_KEY": "s" * 50,
            "ALLOWED_HOSTS": "shop.example",
            "SAGA_BRIDGE_EMBEDDED": "",
            "CRASH_POINTS": str(tmp_path),
        },
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert process.returncode != 0
    assert "CRASH_POINTS" in process.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("side", "ending", "numbers"),
    [
        (Side.BEFORE, (-signal.SIGKILL, ""), [0]),
        (Side.AFTER, (-signal.SIGKILL, ""), [0, 1]),
        (Side.LOST, (0, "2"), [0, 1, 2]),
    ],
)
def test_a_process_dies_at_the_armed_commit(
    points: CrashPoints, probe: None, tmp_path: Path, side: Side, ending: tuple[int, str], numbers: list[int]
) -> None:
    points.arm(run="one", targets=[Target(POINT, 2, side)])

    assert write(tmp_path / "points") == ending

    assert written() == numbers
    [crash] = [entry for entry in points.journal() if entry.side]
    assert (crash.name, crash.side, crash.role) == (POINT, side, "w")


def test_unarmed_it_only_takes_notes(points: CrashPoints, probe: None, tmp_path: Path) -> None:
    points.arm(run="learn")

    assert write(tmp_path / "points") == (0, "3")

    assert [(entry.name, entry.side) for entry in points.journal()] == [(POINT, None)] * 3


def test_the_second_crash_is_counted_from_the_first(points: CrashPoints, probe: None, tmp_path: Path) -> None:
    points.arm(run="pair", targets=[Target(POINT, 1, Side.AFTER), Target(POINT, 2, Side.BEFORE)])

    endings = [write(tmp_path / "points")[0] for _ in range(3)]

    assert endings == [-signal.SIGKILL, -signal.SIGKILL, 0]
    assert written() == [0, 0, 0, 1, 2]
    assert [entry.side for entry in points.journal() if entry.side] == [Side.AFTER, Side.BEFORE]


def test_a_crash_of_an_earlier_run_does_not_come_late(points: CrashPoints) -> None:
    points.arm(run="one", targets=[Target("bank charge", 1, Side.AFTER)])

    points.passing("bank charge", lambda: points.arm(run="two"), lost=AssertionError)

    assert [entry.side for entry in points.journal()] == []


def test_a_call_whose_answer_is_lost_was_made(points: CrashPoints) -> None:
    points.arm(run="one", targets=[Target("bank charge", 1, Side.LOST)])
    calls: list[str] = []

    with pytest.raises(ConnectionError):
        points.passing("bank charge", lambda: calls.append("made"), lost=ConnectionError)

    assert calls == ["made"]


def test_a_commit_is_named_after_what_it_wrote(points: CrashPoints, crashing: DatabaseWrapper) -> None:
    with transaction.atomic(using=ALIAS), crashing.cursor() as cursor:
        cursor.execute("INSERT INTO crash_probe VALUES (1), (2)")
        cursor.execute("UPDATE outbox_tokenbucket SET tokens = tokens WHERE name = 'nobody'")
        cursor.execute("WITH gone AS (DELETE FROM crash_probe WHERE number = 1) SELECT 1")

    assert [entry.name for entry in points.journal()] == [POINT]
    assert written() == [2]


def test_a_statement_without_a_transaction_has_a_commit_too(points: CrashPoints, crashing: DatabaseWrapper) -> None:
    points.arm(run="one", targets=[Target(POINT, 1, Side.LOST)])

    with pytest.raises(OperationalError), crashing.cursor() as cursor:
        cursor.execute("INSERT INTO crash_probe VALUES (%s)", [7])

    assert written() == [7]
    assert [entry.side for entry in points.journal()] == [None, Side.LOST]


def test_what_wrote_nothing_is_no_point(points: CrashPoints, crashing: DatabaseWrapper) -> None:
    with crashing.cursor() as cursor:
        cursor.execute("UPDATE crash_probe SET number = 2 WHERE number = 1")
        with transaction.atomic(using=ALIAS):
            cursor.execute("SELECT number FROM crash_probe FOR UPDATE")
        with transaction.atomic(using=ALIAS):
            cursor.execute("WITH gone AS (DELETE FROM crash_probe RETURNING number) SELECT number FROM gone")

    assert points.journal() == []


def test_what_is_rolled_back_is_no_point(points: CrashPoints, crashing: DatabaseWrapper) -> None:
    with transaction.atomic(using=ALIAS), crashing.cursor() as cursor:
        cursor.execute("INSERT INTO crash_probe VALUES (1)")
        transaction.set_rollback(True, using=ALIAS)
    with transaction.atomic(using=ALIAS), crashing.cursor() as cursor:
        cursor.execute("SELECT 1")

    assert points.journal() == []
    assert written() == []


def test_after_a_lost_answer_nothing_is_rung_and_the_connection_is_a_new_one(
    points: CrashPoints, crashing: DatabaseWrapper
) -> None:
    points.arm(run="one", targets=[Target(POINT, 1, Side.LOST)])
    rung: list[str] = []

    def write_and_ring(number: int) -> None:
        with transaction.atomic(using=ALIAS), crashing.cursor() as cursor:
            cursor.execute("INSERT INTO crash_probe VALUES (%s)", [number])
            transaction.on_commit(lambda: rung.append(f"ring {number}"), using=ALIAS)

    with pytest.raises(OperationalError):
        write_and_ring(1)
    write_and_ring(2)

    assert rung == ["ring 2"]
    assert written() == [1, 2]


@pytest.mark.parametrize(
    ("statement", "tables"),
    [
        ("SELECT 1", set()),
        ('INSERT INTO "orders_order" VALUES (1) ON CONFLICT DO UPDATE SET a = 1', {"orders_order"}),
        ("SELECT id FROM outbox_delivery d FOR UPDATE OF d SKIP LOCKED", set()),
        ("SELECT id FROM outbox_delivery FOR NO KEY UPDATE", set()),
        ("update outbox_tokenbucket b\nset tokens = 1", {"outbox_tokenbucket"}),
        ("UPDATE outbox_delivery AS d SET token = NULL", {"outbox_delivery"}),
        ("WITH a AS (INSERT INTO x VALUES (1)), b AS (DELETE FROM y) SELECT 1", {"x", "y"}),
    ],
)
def test_the_tables_of_a_statement(statement: str, tables: set[str]) -> None:
    assert tables_written(statement) == tables
