"""Charts of the last hours as shapes for SVG: drawn on the server, so that no script runs and all can be tested."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from desk.monitoring.models import Minute

# Units of the drawing, which is stretched to the width of its place; words stand around it, so they never shrink.
WIDTH, HEIGHT = 600, 100
MINUTE = timedelta(minutes=1)
# So many orders in a hundred may turn back.
BUDGET_PERCENT = 2.0
# The alert RelayLags wakes somebody up beyond this.
LAG_LIMIT_SECONDS = 30.0
# One order more or less must not look like a catastrophe at night: the ratio is that of the last minutes together.
RATIO_MINUTES = 15
ROW_MINUTES = 10


@dataclass(frozen=True, slots=True)
class Chart:
    """A line over time. `paths` are its unbroken parts, `limit_y` is where its limit runs, `top` the end of its scale.

    `says` is what it shows in one sentence, for those who do not see it.
    """

    name: str
    title: str
    latest: str
    says: str
    top: str
    begins_at: datetime
    ends_at: datetime
    paths: list[str] = field(default_factory=list)
    limit_y: float | None = None
    limit: str = ""
    is_alarming: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """Ten minutes of all charts in numbers; None where nobody looked."""

    begins_at: datetime
    started: int | None
    turned_back: int | None
    lag_seconds: float | None
    open_cases: int | None

    @property
    def percent(self) -> float | None:
        """How many in a hundred turned back."""
        return 100 * (self.turned_back or 0) / self.started if self.started else None


def draw(minutes: Sequence[Minute], *, begins_at: datetime, ends_at: datetime) -> list[Chart]:
    """Draw the minutes from `begins_at` up to, and without, `ends_at`, which has only begun."""
    by_time = {minute.at: minute for minute in minutes}
    times = [begins_at + n * MINUTE for n in range((ends_at - begins_at) // MINUTE)]
    line = [by_time.get(at) for at in times]
    started = [None if minute is None else float(minute.started) for minute in line]
    ratio = [_percent(line[max(0, n - RATIO_MINUTES + 1) : n + 1]) for n in range(len(line))]
    lag = [None if minute is None else minute.lag_seconds for minute in line]
    cases = [None if minute is None or minute.open_cases is None else float(minute.open_cases) for minute in line]
    return [
        _chart("orders", "Orders per minute", "{:.0f}", started, times),
        _chart("compensations", "Turned back", "{:.1f} %", ratio, times, limit=BUDGET_PERCENT, means="budget"),
        _chart("lag", "Relay lag", "{:.1f} s", lag, times, limit=LAG_LIMIT_SECONDS, means="alert"),
        _chart("cases", "Open cases", "{:.0f}", cases, times),
    ]


def rows(minutes: Sequence[Minute], *, begins_at: datetime, ends_at: datetime) -> list[Row]:
    """Return the same minutes in numbers, ten at a time, the latest first."""
    step = ROW_MINUTES * MINUTE
    found = []
    for n in reversed(range(-(-(ends_at - begins_at) // step))):
        first = begins_at + n * step
        part = [minute for minute in minutes if first <= minute.at < min(first + step, ends_at)]
        levels = [minute.open_cases for minute in part if minute.open_cases is not None]
        found.append(
            Row(
                first,
                sum(minute.started for minute in part) if part else None,
                sum(minute.turned_back for minute in part) if part else None,
                max((minute.lag_seconds for minute in part if minute.lag_seconds is not None), default=None),
                levels[-1] if levels else None,
            )
        )
    return found


def _percent(minutes: Sequence[Minute | None]) -> float | None:
    """Return how many in a hundred of those begun in these minutes turned back; None when none began."""
    known = [minute for minute in minutes if minute is not None]
    started = sum(minute.started for minute in known)
    return 100 * sum(minute.turned_back for minute in known) / started if started else None


def _chart(
    name: str,
    title: str,
    form: str,
    values: Sequence[float | None],
    times: Sequence[datetime],
    *,
    limit: float | None = None,
    means: str = "",
) -> Chart:
    known = [value for value in values if value is not None]
    latest, most = values[-1], max(known, default=0.0)
    top = _round_up(max(most, limit or 0.0))
    limit_text = f"{means} {form.format(limit)}" if limit is not None else ""
    now = "nothing" if latest is None else form.format(latest)
    says = f"{now} in the last minute, {form.format(most)} at most" if known else "nothing was measured"
    says += f"; {limit_text}." if limit_text else "."
    return Chart(
        name,
        title,
        form.format(latest) if latest is not None else "-",
        says,
        form.format(top),
        times[0],
        times[-1] + MINUTE,
        _paths(values, top),
        _y(limit, top) if limit is not None else None,
        limit_text,
        limit is not None and latest is not None and latest > limit,
    )


def _paths(values: Sequence[float | None], top: float) -> list[str]:
    """Return the line, broken where nothing is known; a point that stands alone is as wide as its minute."""
    width = WIDTH / len(values)
    paths: list[list[str]] = []
    is_open = False
    for n, value in enumerate(values):
        if value is None:
            is_open = False
            continue
        if not is_open:
            paths.append([f"M{n * width:.1f} {_y(value, top):.1f}"])
        paths[-1].append(f"L{(n + 1) * width:.1f} {_y(value, top):.1f}")
        is_open = True
    return [" ".join(parts) for parts in paths]


def _y(value: float, top: float) -> float:
    return round(HEIGHT * (1 - value / top), 1)


def _round_up(value: float) -> float:
    """Return the next number that a scale may end with: 1, 2 or 5 with some zeros."""
    end = 1.0
    while end < value:
        end *= 2.5 if str(int(end)).startswith("2") else 2
    return end
