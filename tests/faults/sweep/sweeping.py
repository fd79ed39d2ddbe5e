"""The sweep: play a scenario to learn where it can crash, then play it once for each point and side, crashing there.

The shop keeps running from one run to the next; only what a crash has killed is started again. A run is judged when
nothing is left to do for its order. A point that cannot be hit, an end that was not promised and a book that
disagrees are problems alike.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import cycle

import psutil
import psycopg
import redis

from outbox.crash_points import CrashPoints, Entry, Side, Target
from tests.faults.sweep.oracle import judge
from tests.faults.sweep.scenarios import Scenario, Visit
from tests.shop import Shop

# A point belongs to the scenario when it is passed in each of so many runs; others are chance.
LEARNING_RUNS = 3
# Work moves between processes by chance: a point that was not reached is tried again so often.
TRIES = 6
# A shop in which so many runs went wrong is broken; more of them tell nothing new.
PROBLEMS_UNTIL_BROKEN = 5
# Relays that are awake are not sent for. Before a run that crashes at the sending they have to fall asleep.
_ASLEEP_SECONDS = 5.0
_SENDING = "send "
_AWAKE = "saga-bridge:awake:*"

# What is passed again and again while it waits: one more look is like the one before. So many are swept, because...
REPEATED = {
    "commit outbox_tokenbucket": (2, "each look at the lane takes tokens and gives them back; how often is chance"),
}
# What is never swept, because...
EXCLUDED = {
    r"commit django_celery_beat_.*": "beat notes when it rang last; a note that is lost makes it ring once more",
    r"commit composition_.*": "the hourly audit notes its findings; it changes nothing that an order depends on",
}


@dataclass(frozen=True)
class Point:
    """The n-th time that a scenario passes a point, and the role that does so."""

    name: str
    ordinal: int
    role: str

    def at(self, side: Side) -> Target:
        """Return the target of crashing here."""
        return Target(self.name, self.ordinal, side)


@dataclass(frozen=True)
class Run:
    """What came of playing the scenario once."""

    crashes: list[Entry]
    journal: list[Entry]
    problems: list[str]
    end: str
    seconds: float


@dataclass
class Trial:
    """One point, or a pair of points, crashed at until it was hit."""

    targets: tuple[Target, ...]
    roles: tuple[str, ...]
    tries: int = 0
    is_hit: bool = False
    seconds: float = 0.0
    end: str = ""
    problems: list[str] = field(default_factory=list)
    journal: list[Entry] = field(default_factory=list, repr=False)


class Sweep:
    """The sweep of one scenario on one running shop."""

    def __init__(self, *, shop: Shop, points: CrashPoints, scenario: Scenario) -> None:
        self.scenario = scenario
        self.runs = 0
        self.trials: list[Trial] = []
        self.points: list[Point] = []
        self.irregular: dict[str, int] = {}
        self._shop = shop
        self._crash_points = points
        # Several customers in turn: the same items twice within a second would count as a double click.
        self._customers = cycle([shop.customer() for _ in range(10)])
        self._database = psycopg.connect(shop.environment["DATABASE_URL"], autocommit=True)
        self._broker = redis.Redis.from_url(shop.environment["REDIS_URL"])

    def close(self) -> None:
        """Let the connections go, and disarm."""
        self._crash_points.arm(run="over")
        self._database.close()
        self._broker.close()

    def learn(self) -> None:
        """Find the points of the scenario."""
        # The first run of a fresh process opens connections and makes plans; it is not like the others.
        runs = [self._play_to_its_end() for _ in range(1 + LEARNING_RUNS)]
        self.points, self.irregular = find_points([run.journal for run in runs[1:]])
        assert self.points, "no point is passed in every run"

    def _play_to_its_end(self) -> Run:
        """Play undisturbed, again if a customer was too slow for what the scenario is about."""
        for _ in range(TRIES):
            run = self.play(rested=True)
            assert run.problems == []
            if run.end == self.scenario.end:
                return run
        raise AssertionError(f"undisturbed it ends {run.end}, not {self.scenario.end}")

    def crash_at_every_point(self) -> None:
        """Crash once at each side of each point."""
        for point in self.points:
            for side in Side:
                self.crash_at(point.at(side), roles=(point.role,))

    def crash_at(self, *targets: Target, roles: tuple[str, ...]) -> Trial:
        """Play until all targets were hit, one after the other, and keep the verdict."""
        trial = Trial(targets, roles)
        self.trials.append(trial)
        is_sending = any(target.name.startswith(_SENDING) for target in targets)
        while not trial.is_hit and trial.tries < TRIES and not trial.problems:
            trial.tries += 1
            run = self.play(*targets, rested=is_sending or trial.tries > 1)
            trial.is_hit = len(run.crashes) == len(targets)
            trial.seconds, trial.end, trial.problems = run.seconds, run.end, run.problems
            trial.journal = run.journal
        if not trial.is_hit and not trial.problems:
            trial.problems = [f"not hit in {trial.tries} runs"]
        broken = [trial for trial in self.trials if trial.problems]
        assert len(broken) < PROBLEMS_UNTIL_BROKEN, broken
        return trial

    def play(self, *targets: Target, rested: bool = False) -> Run:
        """Play the scenario once, crashing at the targets, and judge what came of it."""
        self.runs += 1
        self._crash_points.arm(run="")
        rest = self._let_relays_fall_asleep if rested else _go_on
        visit = Visit(shop=self._shop, database=self._database, customer=next(self._customers), rest=rest)
        orders = self._count_orders()
        self.scenario.prepare(visit)
        self._crash_points.arm(run=f"{self.scenario.name} {self.runs}", targets=targets)
        began = time.monotonic()
        try:
            promised = self.scenario.act(visit)
            end = visit.settle()
        except AssertionError as error:
            return self._run(began, f"broken: {error}", [str(error)])
        problems = [] if end == promised else [f"promised {promised}, ended {end}"]
        if end == promised:
            problems += judge(shop=self._shop, database=self._database, order_id=visit.order_id, end=end)
        problems += [f"{entry.role} {entry.pid} survived" for entry in self._crash_points.journal() if _survived(entry)]
        made = self._count_orders() - orders
        if made != 1:
            problems.append(f"{made} orders made")
        return self._run(began, end, [f"{visit.order_id} {problem}" for problem in problems])

    def _run(self, began: float, end: str, problems: list[str]) -> Run:
        journal = self._crash_points.journal()
        crashes = [entry for entry in journal if entry.side]
        return Run(crashes, journal, problems, end, time.monotonic() - began)

    def _count_orders(self) -> int:
        [(count,)] = self._database.execute("SELECT count(*) FROM orders_order").fetchall()
        return int(count)

    def _let_relays_fall_asleep(self) -> None:
        limit = time.monotonic() + _ASLEEP_SECONDS
        while self._broker.keys(_AWAKE) and time.monotonic() < limit:
            self._shop.tend()
            time.sleep(0.05)


def _go_on() -> None:
    """Let nobody rest."""


def find_points(journals: Sequence[Sequence[Entry]]) -> tuple[list[Point], dict[str, int]]:
    """Return the points that all journals share, in order, and how many others each name had at most."""
    counts = [Counter(entry.name for entry in journal if _is_swept(entry.name)) for journal in journals]
    most = Counter[str]()
    for count in counts:
        most |= count
    always = {name: min(count[name] for count in counts) for name in most}
    common = {name: min(times, REPEATED[name][0]) if name in REPEATED else times for name, times in always.items()}
    points = [point for point in _number(journals[-1]) if point.ordinal <= common.get(point.name, 0)]
    return points, {name: most[name] - common[name] for name in most if most[name] > common[name]}


def _survived(entry: Entry) -> bool:
    """Tell whether a process that was to be killed is still there."""
    if entry.side in (None, Side.LOST):
        return False
    try:
        process = psutil.Process(entry.pid)
        return process.create_time() < entry.at and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _number(journal: Sequence[Entry]) -> Iterator[Point]:
    seen = Counter[str]()
    for entry in journal:
        seen[entry.name] += 1
        yield Point(entry.name, seen[entry.name], entry.role)


def _is_swept(name: str) -> bool:
    return not any(re.fullmatch(pattern, name) for pattern in EXCLUDED)
