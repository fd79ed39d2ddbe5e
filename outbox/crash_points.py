"""Crash points: every commit and every call of the outside world passes one counter, so that a test can crash at each.

It is off, and costs one comparison, unless the environment names a folder in CRASH_POINTS. All processes of a stack
share that folder: each point they pass is noted in its journal, and a plan in it, read at each point, says where the
next one is to crash. So the points are found by running, not listed by hand, and a running stack can be crashed again
and again. Production refuses the setting.
"""

from __future__ import annotations

import fcntl
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

import msgspec

Result = TypeVar("Result")


class Side(StrEnum):
    """How it crashes: killed just before, killed just after, or alive and left without the answer."""

    BEFORE = "before"
    AFTER = "after"
    LOST = "lost"


class Target(msgspec.Struct, frozen=True):
    """Where to crash: at the n-th time that a point of this name is passed."""

    name: str
    ordinal: int
    side: Side


class Plan(msgspec.Struct, frozen=True):
    """The crashes of one run, one after the other; each is counted from the one before."""

    run: str = ""
    targets: tuple[Target, ...] = ()


class Entry(msgspec.Struct, frozen=True, omit_defaults=True):
    """A line of the journal: a point that was passed or, with a side, a crash at it. `at` is in Unix seconds."""

    name: str
    role: str
    pid: int
    at: float
    side: Side | None = None


class CrashPoints:
    """The shared folder. Safe for any number of processes and threads."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._plan_file = folder / "plan.json"
        self._journal = folder / "journal.jsonl"

    def arm(self, *, run: str, targets: Sequence[Target] = ()) -> None:
        """Begin a run of this name with an empty journal; without targets nothing crashes."""
        with self._locked():
            self._plan_file.write_bytes(msgspec.json.encode(Plan(run, tuple(targets))))
            self._journal.write_bytes(b"")

    def journal(self) -> list[Entry]:
        """Return what was passed in this run, crashes among it, in order."""
        with self._locked():
            return self._entries()

    def passing(self, name: str, act: Callable[[], Result], *, lost: Callable[[], Exception]) -> Result:
        """Pass a point: do what it stands for and return its result, or crash there if the plan says so.

        `lost` makes the error by which a caller learns that the connection broke before the answer came.
        """
        run, side = self._enter(name)
        if side is Side.BEFORE:
            self._crash(name, run, side)
        result = act()
        if side is Side.AFTER:
            self._crash(name, run, side)
        if side is Side.LOST and self._note_crash(name, run, side):
            raise lost()
        return result

    def _enter(self, name: str) -> tuple[str, Side | None]:
        with self._locked():
            plan = self._plan()
            self._append(name)
            if all(target.name != name for target in plan.targets):
                return plan.run, None
            entries = self._entries()
            crashes = [number for number, entry in enumerate(entries) if entry.side]
            if len(crashes) >= len(plan.targets):
                return plan.run, None
            target = plan.targets[len(crashes)]
            since = crashes[-1] + 1 if crashes else 0
            times = sum(entry.name == name for entry in entries[since:])
            return plan.run, target.side if (name, times) == (target.name, target.ordinal) else None

    def _crash(self, name: str, run: str, side: Side) -> None:
        if self._note_crash(name, run, side):
            os.kill(os.getpid(), signal.SIGKILL)

    def _note_crash(self, name: str, run: str, side: Side) -> bool:
        """Write it down for good, unless another run has begun meanwhile."""
        with self._locked():
            if self._plan().run != run:
                return False
            self._append(name, side)
            return True

    def _plan(self) -> Plan:
        try:
            return _read_plan(self._plan_file.read_bytes())
        except FileNotFoundError:
            return Plan()

    def _entries(self) -> list[Entry]:
        try:
            return _read_lines(self._journal.read_bytes())
        except FileNotFoundError:
            return []

    def _append(self, name: str, side: Side | None = None) -> None:
        entry = Entry(name, os.environ.get("ROLE", ""), os.getpid(), time.time(), side)
        with self._journal.open("ab", buffering=0) as journal:
            journal.write(msgspec.json.encode(entry) + b"\n")
            if side:
                os.fsync(journal.fileno())

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the folder; the kernel lets it go should the holder be killed."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / "lock").open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


_read_plan = msgspec.json.Decoder(Plan).decode
_read_lines = msgspec.json.Decoder(Entry).decode_lines
_place = os.environ.get("CRASH_POINTS")
POINTS = CrashPoints(Path(_place)) if _place else None


def call(name: str, act: Callable[[], Result], *, lost: Callable[[], Exception]) -> Result:
    """Call the outside world, as a crash point if those are on."""
    return act() if POINTS is None else POINTS.passing(name, act, lost=lost)
