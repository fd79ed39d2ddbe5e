"""The storm: it carries out the script on running processes, and lets everything be calm at the end."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import httpx
import psutil

from bench.chaos.script import BANK, CALM, CARRIER, LINKS, Event, Kind
from config.local.processes import Supervisor

_TIMEOUT_SECONDS = 5.0
# The simulator may just have been killed; it is back within about a second.
_PATIENCE_SECONDS = 30.0
_PAUSE_SECONDS = 0.2


@dataclass(frozen=True, kw_only=True)
class Running:
    """A flow that runs: where it is, how to get in, what its processes are called.

    `roles` says which process of this flow stands for a role of the script.
    """

    supervisor: Supervisor
    url: str
    outside_url: str
    network_url: str
    tokens: Sequence[str]
    roles: Mapping[str, str]


@dataclass
class Storm:
    """One script on one flow. Its own thread is the one that started the processes."""

    running: Running
    events: Sequence[Event]
    seed: int
    kills: int = 0
    restarts: int = 0
    _next: int = 0
    _began: float = field(default_factory=time.monotonic)

    def begin(self) -> None:
        """Let the bank and the carrier misbehave, and the clock run."""
        self._control("bank", seed=self.seed, **BANK)
        self._control("carrier", seed=self.seed, **CARRIER)
        self._began = time.monotonic()

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to happen."""
        return self._next == len(self.events)

    def blow(self) -> None:
        """Do what is due by now."""
        while not self.is_over and self.events[self._next].at <= time.monotonic() - self._began:
            self._do(self.events[self._next])
            self._next += 1

    def end(self) -> None:
        """Make the network calm, and let the bank answer in time. What it refuses for good it goes on refusing."""
        for link in LINKS:
            self._put(f"{self.running.network_url}/links/{link}", dict(CALM))
        self._control("bank", timeout_ratio=0, timeout_charged_ratio=0)

    def _do(self, event: Event) -> None:
        match event.kind:
            case Kind.WEATHER:
                self._put(f"{self.running.network_url}/links/{event.target}", dict(event.weather))
            case Kind.RESTART:
                # The database server stops at once without a checkpoint: its next start has to recover.
                self._signal(event.target, signal.SIGQUIT if event.target == "postgres" else signal.SIGKILL)
                self.restarts += 1
            case Kind.KILL:
                self._signal(self.running.roles[event.target], signal.SIGKILL)
                self.kills += 1
            case Kind.KILL_CHILD:
                self._kill_child(self.running.roles[event.target])
                self.kills += 1

    def _signal(self, role: str, number: signal.Signals) -> None:
        # It may be dead already, and not yet started again.
        with suppress(ProcessLookupError):
            os.kill(self.running.supervisor.pids()[role], number)

    def _kill_child(self, role: str) -> None:
        """Kill one process of the pool, or the whole role if it has none."""
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(self.running.supervisor.pids()[role])
            (process.children() or [process])[-1].kill()

    def _control(self, whose: str, **settings: object) -> None:
        self._put(f"{self.running.outside_url}/{whose}/control", settings)

    def _put(self, url: str, settings: Mapping[str, object]) -> None:
        limit = time.monotonic() + _PATIENCE_SECONDS
        while True:
            try:
                httpx.put(url, json=settings, timeout=_TIMEOUT_SECONDS).raise_for_status()
            except httpx.TransportError:
                if time.monotonic() > limit:
                    raise
                self.running.supervisor.tend()
                time.sleep(_PAUSE_SECONDS)
            else:
                return
