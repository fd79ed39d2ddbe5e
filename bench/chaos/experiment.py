"""One flow through one storm: orders and faults at once, then calm, then the verdict."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import psycopg

from bench.chaos.books import Booked, Books, Ledgers
from bench.chaos.clients import Clients, Log
from bench.chaos.oracle import Verdict, judge
from bench.chaos.script import Event
from bench.chaos.storm import Running, Storm
from bench.chaos.wishes import Wish

SETTLING_SECONDS = 60.0
# After the storm whoever has not been answered yet goes on asking for so long.
CLIENTS_PATIENCE_SECONDS = 30.0
_TEND_SECONDS = 0.05
_POLL_SECONDS = 0.5
# A flow that has moved nothing for so long has forgotten what is left.
_STANDSTILL_SECONDS = 20.0


class Flow(Protocol):
    """What the experiment needs to know of a flow."""

    @property
    def running(self) -> Running:
        """Its processes."""

    def undone(self) -> int:
        """Count what has still to be done."""

    def books(self) -> Books:
        """Read what it has written down."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a flow came to; `settling` are the seconds from placing to end of the orders that have ended."""

    orders: Sequence[Booked]
    kills: int
    restarts: int
    settled_after: float
    log: Log
    verdict: Verdict

    @property
    def settling(self) -> Sequence[float]:
        """Seconds from placing to end, of orders that have ended once and were not sent back later."""
        return sorted(o.seconds for o in self.orders if o.seconds is not None and o.status != "RETURNED")


def run(
    flow: Flow,
    *,
    wishes: Sequence[Wish],
    events: Sequence[Event],
    seed: int,
    gives_up: bool,
    say: Callable[[str], None],
) -> Outcome:
    """Carry out the script while the customers send, wait until all is done, and judge.

    A flow that `gives_up` is not waited for any longer once it stands still.
    """
    running = flow.running
    clients = Clients(url=running.url, tokens=running.tokens, wishes=wishes, patience_seconds=CLIENTS_PATIENCE_SECONDS)
    storm = Storm(running=running, events=events, seed=seed)
    storm.begin()
    clients.start()
    while not storm.is_over:
        storm.blow()
        _tend(running)
    storm.end()
    say(f"calm again after {storm.kills} kills and {storm.restarts} restarts of a server; settling")
    while clients.busy:
        _tend(running)
    settled_after = _settle(flow, gives_up=gives_up)
    books = flow.books()
    verdict = judge(books=books, ledgers=Ledgers.read(outside_url=running.outside_url), log=clients.log)
    return Outcome(
        orders=books.orders,
        kills=storm.kills,
        restarts=storm.restarts,
        settled_after=settled_after,
        log=clients.log,
        verdict=verdict,
    )


def _settle(flow: Flow, *, gives_up: bool) -> float:
    began = changed_at = time.monotonic()
    last = -1
    while (now := time.monotonic()) - began < SETTLING_SECONDS:
        try:
            left = flow.undone()
        except psycopg.OperationalError:
            left = last
        if left == 0 or (gives_up and now - changed_at > _STANDSTILL_SECONDS):
            break
        if left != last:
            last, changed_at = left, now
        pause_until = now + _POLL_SECONDS
        while time.monotonic() < pause_until:
            _tend(flow.running)
    return time.monotonic() - began


def _tend(running: Running) -> None:
    running.supervisor.tend()
    time.sleep(_TEND_SECONDS)
