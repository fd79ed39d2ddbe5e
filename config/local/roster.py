"""The roster: a note of the processes we started, by which the next run ends what a killed one left.

A process id alone proves nothing, for the system gives it away again. With the time at which the process
began it does: only a process that matches both is ever signalled.
"""

import json
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from config.local.folder import write_privately

# The clock that start times are told by may be set while we run, so equality is too strict. Nothing of ours
# can have its process id taken over by a stranger that began within this time of it.
_CLOCK_TOLERANCE_SECONDS = 2.0
_POLL_SECONDS = 0.05


@dataclass(frozen=True)
class Entry:
    """A process that we started, and the signals that end it, the gentlest first."""

    role: str
    pid: int
    created_at: float
    stop_signals: tuple[int, ...]

    @classmethod
    def of(cls, *, role: str, pid: int, stop_signals: Sequence[int]) -> "Entry":
        """Describe a child that nobody has waited for, so that its process id is certainly its own."""
        return cls(role=role, pid=pid, created_at=psutil.Process(pid).create_time(), stop_signals=tuple(stop_signals))

    def process(self) -> psutil.Process | None:
        """Return the process if it still runs, None if it is gone or its id belongs to another by now."""
        try:
            process = psutil.Process(self.pid)
            is_ours = abs(process.create_time() - self.created_at) <= _CLOCK_TOLERANCE_SECONDS
        except psutil.NoSuchProcess:
            return None
        return process if is_ours and not has_ended(process) else None


@dataclass(frozen=True)
class Roster:
    """The note itself, a JSON file."""

    path: Path

    def write(self, entries: Sequence[Entry]) -> None:
        """Note exactly these processes."""
        write_privately(self.path, json.dumps([asdict(entry) for entry in entries], indent=2))

    def end_leftovers(self, *, grace_seconds: float = 10.0) -> list[str]:
        """End every noted process that still runs, the last started first; return their roles.

        Call it only while holding the state folder: a noted process of a living holder is not a leftover.
        """
        ended = []
        for entry in reversed(self._read()):
            process = entry.process()
            if process is not None:
                _end(process, stop_signals=entry.stop_signals, grace_seconds=grace_seconds)
                ended.append(entry.role)
        self.path.unlink(missing_ok=True)
        return ended

    def _read(self) -> list[Entry]:
        try:
            rows = json.loads(self.path.read_text())
            return [Entry(**{**row, "stop_signals": tuple(row["stop_signals"])}) for row in rows]
        except (FileNotFoundError, ValueError, TypeError, KeyError):
            return []


def has_ended(process: psutil.Process) -> bool:
    """Tell whether a process has ended; one whose end nobody has taken notice of (a zombie) has too."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def wait_for_end(processes: Sequence[psutil.Process], *, seconds: float) -> list[psutil.Process]:
    """Wait until all have ended, or the time is over; return those that still run."""
    limit = time.monotonic() + seconds
    while living := [process for process in processes if not has_ended(process)]:
        if time.monotonic() > limit:
            break
        time.sleep(_POLL_SECONDS)
    return living


def _end(process: psutil.Process, *, stop_signals: Sequence[int], grace_seconds: float) -> None:
    try:
        family = process.children(recursive=True)
        for stop_signal in (*stop_signals, signal.SIGKILL):
            process.send_signal(stop_signal)
            if not wait_for_end([process], seconds=grace_seconds):
                break
    except psutil.NoSuchProcess:
        return
    orphans = wait_for_end(family, seconds=1.0)
    for orphan in orphans:
        with suppress(psutil.NoSuchProcess):
            orphan.kill()
    wait_for_end(orphans, seconds=grace_seconds)
