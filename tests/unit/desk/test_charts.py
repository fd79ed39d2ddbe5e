"""The charts: shapes and sentences for what was measured, and gaps for what was not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from desk.monitoring.charts import HEIGHT, WIDTH, Chart, draw, rows
from desk.monitoring.models import Minute

BEGIN = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


def minute(n: int, started: int = 0, turned: int = 0, lag: float | None = 0.0, cases: int | None = 0) -> Minute:
    at = BEGIN + timedelta(minutes=n)
    return Minute(at=at, started=started, turned_back=turned, lag_seconds=lag, open_cases=cases)


def drawn(*minutes: Minute, span: int = 4) -> dict[str, Chart]:
    charts = draw(minutes, begins_at=BEGIN, ends_at=BEGIN + timedelta(minutes=span))
    return {chart.name: chart for chart in charts}


def test_a_line_goes_from_edge_to_edge() -> None:
    chart = drawn(minute(0, 1), minute(1, 2), minute(2, 5), minute(3, 4))["orders"]

    assert chart.paths == ["M0.0 80.0 L150.0 80.0 L300.0 60.0 L450.0 0.0 L600.0 20.0"]
    assert (chart.top, chart.latest) == ("5", "4")
    assert chart.says == "4 in the last minute, 5 at most."
    assert (chart.begins_at, chart.ends_at) == (BEGIN, BEGIN + timedelta(minutes=4))
    assert (WIDTH, HEIGHT) == (600, 100)


def test_a_line_is_broken_where_nobody_looked() -> None:
    chart = drawn(minute(0, 1), minute(2, 1), minute(3, 1))["orders"]

    assert chart.paths == ["M0.0 0.0 L150.0 0.0", "M300.0 0.0 L450.0 0.0 L600.0 0.0"]


def test_nothing_is_told_as_nothing() -> None:
    charts = drawn()

    assert {chart.latest for chart in charts.values()} == {"-"}
    assert [chart.paths for chart in charts.values()] == [[], [], [], []]
    assert charts["orders"].says == "nothing was measured."
    assert charts["lag"].says == "nothing was measured; alert 30.0 s."


def test_the_share_that_turned_back_is_that_of_a_quarter_of_an_hour() -> None:
    minutes = [minute(0, 100, 90), *(minute(n, 10, 0) for n in range(1, 16))]

    latest = drawn(*minutes[:15], span=15)["compensations"]
    later = drawn(*minutes, span=16)["compensations"]

    assert (latest.latest, latest.is_alarming) == ("37.5 %", True)
    assert (later.latest, later.is_alarming) == ("0.0 %", False)


@pytest.mark.parametrize(("turned", "is_alarming"), [(2, False), (3, True)])
def test_the_budget_is_two_in_a_hundred(turned: int, is_alarming: bool) -> None:
    chart = drawn(minute(0, 100, turned), span=1)["compensations"]

    assert chart.is_alarming is is_alarming
    assert chart.limit == "budget 2.0 %"
    assert chart.limit_y == {2: 0.0, 3: 60.0}[turned]


def test_the_limit_of_the_lag_is_in_the_picture() -> None:
    chart = drawn(minute(0, lag=0.25), span=1)["lag"]

    assert (chart.latest, chart.top, chart.limit_y, chart.is_alarming) == ("0.2 s", "50.0 s", 40.0, False)


def test_numbers_are_told_ten_minutes_at_a_time_the_latest_first() -> None:
    minutes = [minute(0, 5, 1, 0.5, 2), minute(9, 5, 0, 2.5, 3), minute(10, 4, 0, None, None)]

    later, earlier = rows(minutes, begins_at=BEGIN, ends_at=BEGIN + timedelta(minutes=15))

    assert (earlier.begins_at, earlier.started, earlier.turned_back, earlier.percent) == (BEGIN, 10, 1, 10.0)
    assert (earlier.lag_seconds, earlier.open_cases) == (2.5, 3)
    assert (later.started, later.percent, later.lag_seconds, later.open_cases) == (4, 0.0, None, None)


def test_ten_minutes_without_an_order_have_no_share() -> None:
    (row,) = rows([minute(3)], begins_at=BEGIN, ends_at=BEGIN + timedelta(minutes=10))

    assert (row.started, row.turned_back, row.percent) == (0, 0, None)


def test_ten_minutes_at_which_nobody_looked_have_no_number() -> None:
    (row,) = rows([], begins_at=BEGIN, ends_at=BEGIN + timedelta(minutes=10))

    assert (row.started, row.turned_back, row.percent, row.open_cases) == (None, None, None, None)
