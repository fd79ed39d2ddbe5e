"""The supervisor: what dies comes back, what must end ends in order, and only what is ours is signalled."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace

import psutil
import pytest

from config.local.errors import LocalStackError
from config.local.folder import StateFolder
from config.local.processes import Role, Supervisor
from config.local.roster import Entry, wait_for_end

NOTE_STOP = """
import signal, sys, time
def stop(*_):
    with open("stops", "a") as stops: stops.write(sys.argv[1])
    sys.exit()
signal.signal(signal.SIGTERM, stop)
open("ready-" + sys.argv[1], "w").close()
time.sleep(60)
"""
IGNORE_STOP = """
import signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
open("ready-" + sys.argv[1], "w").close()
time.sleep(60)
"""
HAVE_CHILD = """
import os, sys, time
child = os.fork()
if child: open("child", "w").write(str(child)); open("ready-" + sys.argv[1], "w").close()
time.sleep(60)
"""


@pytest.fixture
def supervisor(folder: StateFolder) -> Iterator[Supervisor]:
    with folder.hold(purpose="a test"):
        supervisor = Supervisor(folder=folder)
        yield supervisor
        supervisor.stop()


def role(name: str, program: str, folder: StateFolder, grace_seconds: float = 10.0) -> Role:
    return Role(
        name=name,
        command=[sys.executable, "-c", program, name],
        environment=dict(os.environ),
        folder=folder.path,
        grace_seconds=grace_seconds,
    )


def wait_until(is_true: Callable[[], bool], supervisor: Supervisor) -> None:
    supervisor.wait_for(name="a", is_ready=is_true, seconds=20)


def test_killed_role_runs_again_and_its_orphans_are_gone(supervisor: Supervisor, folder: StateFolder) -> None:
    supervisor.start(role("a", HAVE_CHILD, folder))
    ready = folder.path / "ready-a"
    wait_until(ready.exists, supervisor)
    first = psutil.Process(supervisor.pids()["a"])
    orphan = psutil.Process(int((folder.path / "child").read_text()))
    ready.unlink()

    first.kill()
    wait_until(ready.exists, supervisor)

    assert not first.is_running()
    assert not wait_for_end([orphan], seconds=10)
    assert supervisor.pids()["a"] != first.pid
    noted = json.loads((folder.path / "stack.json").read_text())
    assert [entry["pid"] for entry in noted] == [supervisor.pids()["a"]]


def test_role_that_keeps_dying_is_started_ever_later(supervisor: Supervisor, folder: StateFolder) -> None:
    supervisor.start(role("a", "raise SystemExit('broken')", folder))

    started = time.monotonic()
    restarts: list[str] = []
    while len(restarts) < 2:
        restarts += supervisor.tend()
        time.sleep(0.01)

    assert time.monotonic() - started >= 0.4 + 0.8
    assert supervisor.log_file("a").read_text().splitlines()[:2] == ["broken", "broken"]


def test_role_that_is_not_ready_in_time_is_named_with_the_end_of_its_log(
    supervisor: Supervisor, folder: StateFolder
) -> None:
    supervisor.start(role("a", "raise SystemExit('the port is taken')", folder))

    with pytest.raises(LocalStackError, match=r"(?s)a was not ready after 1 s.*the port is taken"):
        supervisor.wait_for(name="a", is_ready=lambda: False, seconds=1)


def test_stages_stop_in_reverse_order(supervisor: Supervisor, folder: StateFolder) -> None:
    for name in ("a", "b", "c"):
        supervisor.start(role(name, NOTE_STOP, folder))
        wait_until((folder.path / f"ready-{name}").exists, supervisor)

    supervisor.stop()

    assert (folder.path / "stops").read_text() == "cba"


def test_role_that_ignores_the_request_is_killed_after_its_grace(supervisor: Supervisor, folder: StateFolder) -> None:
    supervisor.start(role("a", IGNORE_STOP, folder, grace_seconds=0.3))
    wait_until((folder.path / "ready-a").exists, supervisor)
    process = psutil.Process(supervisor.pids()["a"])

    supervisor.stop()

    assert not process.is_running()


def test_leftovers_of_a_killed_supervisor_are_ended_but_no_stranger(folder: StateFolder) -> None:
    folder.path.mkdir()
    with subprocess.Popen(["sleep", "60"]) as leftover, subprocess.Popen(["sleep", "60"]) as stranger:
        ours = Entry.of(role="a", pid=leftover.pid, stop_signals=[signal.SIGTERM])
        reused = replace(Entry.of(role="b", pid=stranger.pid, stop_signals=[signal.SIGTERM]), created_at=1.0)
        (folder.path / "stack.json").write_text(json.dumps([asdict(ours), asdict(reused)]))

        with folder.hold(purpose="a test"):
            Supervisor(folder=folder)

        assert ours.process() is None
        assert stranger.poll() is None
        stranger.kill()


@pytest.mark.parametrize("note", ["", "{", "[1]", '[{"pid": 1}]'])
def test_unreadable_note_is_no_obstacle(folder: StateFolder, note: str) -> None:
    folder.path.mkdir()
    (folder.path / "stack.json").write_text(note)

    with folder.hold(purpose="a test"):
        assert Supervisor(folder=folder).pids() == {}
