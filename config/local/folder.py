"""The state folder (`var/`): where the stack of one machine keeps its data, logs and notes, and who holds it.

One process at a time holds the folder, by a lock that the kernel drops when the holder dies, however it dies.
While a stack is up, `up.json` in it tells other programs where to find everything.
"""

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from config.local.errors import LocalStackError

PROJECT = Path(__file__).resolve().parents[2]

# A program that only looks whether the folder is held takes the lock for a moment: never refuse because of
# that.
_GLANCE_SECONDS = 1.0
# A holder that says it is stopping gets this long to finish.
_STOPPING = "stopping"
_STOPPING_SECONDS = 45.0


class FolderHeld(LocalStackError):
    """Another process holds the state folder."""


@dataclass(frozen=True)
class StateFolder:
    """A state folder; `StateFolder.of_project()` is the usual one."""

    path: Path

    @classmethod
    def of_project(cls) -> "StateFolder":
        """Return the state folder of this clone."""
        return cls(path=PROJECT / "var")

    @property
    def up_file(self) -> Path:
        """The file that tells where the running stack is found."""
        return self.path / "up.json"

    @property
    def _lock_file(self) -> Path:
        return self.path / "holder.lock"

    @contextmanager
    def hold(self, *, purpose: str) -> Iterator["Hold"]:
        """Hold the folder for the time of the block, as the only process.

        `purpose` is shown to those who are refused. Waits for another holder only if that one is stopping.

        Raises:
            FolderHeld: another process holds it.
            LocalStackError: the folder cannot be written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            lock = self._lock_file.open("a+")
        except OSError as exc:
            raise LocalStackError(f"Cannot write to {self.path}: {exc.strerror}.") from exc
        with lock:
            _take(lock, purpose=purpose)
            self.up_file.unlink(missing_ok=True)
            hold = Hold(lock=lock, purpose=purpose)
            hold.say("running")
            try:
                yield hold
            finally:
                self.up_file.unlink(missing_ok=True)

    def running_stack(self) -> dict[str, Any] | None:
        """Return what `up.json` says if its stack is alive, else None.

        The file alone proves nothing; whoever holds the folder removes a stale one first.
        """
        try:
            with self._lock_file.open() as lock:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            try:
                stack: dict[str, Any] = json.loads(self.up_file.read_text())
            except FileNotFoundError:
                return None
            return stack
        except OSError:
            return None
        return None


def _take(lock: IO[str], *, purpose: str) -> None:
    started = time.monotonic()
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            holder = lock.read()
            limit = _STOPPING_SECONDS if _STOPPING in holder else _GLANCE_SECONDS
            if time.monotonic() - started > limit:
                message = f"Cannot start {purpose}: {Path(lock.name).parent} is in use by {holder}."
                raise FolderHeld(message) from None
            time.sleep(0.05)
        else:
            return


@dataclass(frozen=True)
class Hold:
    """The holder's own handle on the folder it holds."""

    lock: IO[str]
    purpose: str

    def say_stopping(self) -> None:
        """Tell those who want the folder that it is free soon."""
        self.say(_STOPPING)

    def say(self, state: str) -> None:
        """Tell those who want the folder who has it, and what that one is doing."""
        self.lock.truncate(0)
        self.lock.write(f"{self.purpose} (process {os.getpid()}, {state})")
        self.lock.flush()


def write_privately(path: Path, text: str) -> None:
    """Write a file that only this user may read, in one step: a reader finds the old text or the new one."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    draft.replace(path)
