"""The supervisor: it starts named processes, restarts what dies, and ends them all in reverse order.

Every child leads a session of its own, so that Ctrl-C in a terminal reaches the supervisor alone, which then
ends the children in order. If the supervisor itself is killed, the kernel asks each child to stop (`leash`),
and the next start ends what is left (`roster`).
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from config.local import leash
from config.local.account import Account
from config.local.errors import LocalStackError
from config.local.folder import StateFolder
from config.local.roster import Entry, Roster

# A process that ran this long was healthy: its next death is restarted at once.
_HEALTHY_SECONDS = 10.0
_LONGEST_PAUSE_SECONDS = 2.0
_POLL_SECONDS = 0.02


@dataclass(frozen=True, kw_only=True)
class Role:
    """What to run under a name: the command, its whole environment, and how it is asked to stop."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    folder: Path
    account: Account | None = None
    stop_signals: Sequence[int] = (signal.SIGTERM,)
    grace_seconds: float = 10.0


@dataclass
class _Child:
    role: Role
    process: subprocess.Popen[bytes]
    entry: Entry
    started_at: float = field(default_factory=time.monotonic)
    quick_deaths: int = 0
    restart_at: float | None = None


class Supervisor:
    """Run roles in stages.

    Use it from one thread only, the one that lives longest (see `leash.die_with_parent`). Ends what a killed
    predecessor left behind as soon as it is made, so make it only while holding the folder.
    """

    def __init__(self, *, folder: StateFolder) -> None:
        self._log_folder = folder.path / "log"
        self._roster = Roster(path=folder.path / "stack.json")
        self._stages: list[list[_Child]] = []
        self._log_folder.mkdir(exist_ok=True)
        self._roster.end_leftovers()

    def start(self, *roles: Role) -> None:
        """Start a stage: roles that need each other in no order, and that are stopped together."""
        stage: list[_Child] = []
        self._stages.append(stage)
        for role in roles:
            self.log_file(role.name).unlink(missing_ok=True)
            stage.append(self._launch(role))
            self._note()

    def tend(self) -> list[str]:
        """Start again what has died, after clearing up after it; return the names of those roles.

        What dies again and again is started ever later. Call it several times a second.
        """
        now = time.monotonic()
        restarted = []
        for stage in self._stages:
            for place, child in enumerate(stage):
                if child.restart_at is None and _is_dead(child.process):
                    _bury(child.process)
                    lived = now - child.started_at
                    child.quick_deaths = 0 if lived > _HEALTHY_SECONDS else child.quick_deaths + 1
                    child.restart_at = now + _pause(child.quick_deaths)
                if child.restart_at is not None and now >= child.restart_at:
                    stage[place] = self._launch(child.role, quick_deaths=child.quick_deaths)
                    restarted.append(child.role.name)
        if restarted:
            self._note()
        return restarted

    def stop(self) -> None:
        """End all children, the last stage first; within a stage all at once. Safe to call twice."""
        while self._stages:
            _end_stage(self._stages[-1])
            self._stages.pop()
            self._note()

    def pids(self) -> dict[str, int]:
        """Return the process id of every role."""
        return {child.role.name: child.process.pid for child in self._children()}

    def is_running(self, name: str) -> bool:
        """Tell whether the role of that name runs right now."""
        return any(child.role.name == name and not _is_dead(child.process) for child in self._children())

    def log_file(self, name: str) -> Path:
        """Return where the role of that name writes its log."""
        return self._log_folder / f"{name}.log"

    def wait_for(self, *, name: str, is_ready: Callable[[], bool], seconds: float) -> None:
        """Wait until a role is ready, tending all children meanwhile.

        Raises:
            LocalStackError: it was not ready in time; the message shows the end of its log.
        """
        limit = time.monotonic() + seconds
        while not is_ready():
            self.tend()
            if time.monotonic() > limit:
                log = self.log_file(name)
                last_lines = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
                raise LocalStackError(f"{name} was not ready after {seconds:.0f} s. The end of {log}:\n{last_lines}")
            time.sleep(_POLL_SECONDS)

    def _children(self) -> list[_Child]:
        return [child for stage in self._stages for child in stage]

    def _note(self) -> None:
        self._roster.write([child.entry for child in self._children()])

    def _launch(self, role: Role, *, quick_deaths: int = 0) -> _Child:
        uid, gid = (role.account.uid, role.account.gid) if role.account else (-1, -1)
        leashed = [sys.executable, "-I", "-S", leash.__file__]
        leashed += [str(number) for number in (os.getpid(), int(role.stop_signals[0]), uid, gid)]
        with self.log_file(role.name).open("ab") as log:
            process = subprocess.Popen(
                [*leashed, *role.command],
                env=dict(role.environment),
                cwd=role.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        entry = Entry.of(role=role.name, pid=process.pid, stop_signals=role.stop_signals)
        return _Child(role=role, process=process, entry=entry, quick_deaths=quick_deaths)


def _pause(quick_deaths: int) -> float:
    return 0.0 if quick_deaths == 0 else min(0.2 * 2.0**quick_deaths, _LONGEST_PAUSE_SECONDS)


def _is_dead(process: subprocess.Popen[bytes]) -> bool:
    """Tell whether a child has ended, without releasing its process id."""
    if process.returncode is not None:
        return True
    return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def _bury(process: subprocess.Popen[bytes]) -> None:
    """Kill what is left of a dead child's group, then release its process id.

    In this order: until then the group is surely ours.
    """
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _end_stage(children: Sequence[_Child]) -> None:
    living = [child for child in children if not _is_dead(child.process)]
    for step in range(1 + max((len(child.role.stop_signals) for child in living), default=0)):
        for child in living:
            signals = (*child.role.stop_signals, signal.SIGKILL)
            os.kill(child.process.pid, signals[min(step, len(signals) - 1)])
        limit = time.monotonic() + max((child.role.grace_seconds for child in living), default=0.0)
        while living and time.monotonic() < limit:
            time.sleep(_POLL_SECONDS)
            living = [child for child in living if not _is_dead(child.process)]
    for child in children:
        _bury(child.process)
