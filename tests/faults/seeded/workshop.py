"""Where bugs are put in and looked for: a copy of the project, and a clean database that each run gets a copy of."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit
from uuid import uuid4

import psycopg

from config.local.folder import PROJECT
from tests.faults.seeded.bugs import SeededBug
from tests.faults.seeded.verdicts import NOTE_IN, PASSED

# Far more than any of these runs takes on a busy machine; a bug may also make one go on for ever.
PATIENCE_SECONDS = 300.0
# How much of a run's output is shown when it was not as it must be.
_TAIL = 3_000

# Only what the tests need: loading all installed plugins takes longer than most of the tests.
_PYTEST = (sys.executable, "-m", "pytest", "-o", "addopts=", "-q", "--tb=short", "-p", "no:cacheprovider")
_PLUGINS = ("-p", "pytest_django.plugin", "-p", "xdist.plugin", "-p", "tests.faults.seeded.verdicts")


class PatchStale(Exception):
    """The code has moved on under a patch: refresh the hunk that is named."""


class TestsRed(Exception):
    """A test that must catch a bug fails without it, so that it proves nothing."""

    __test__ = False


@dataclass(frozen=True, slots=True)
class Search:
    """What came of looking for one bug: `missed` says of each test that did not catch it what it did instead."""

    bug: SeededBug
    caught_by: tuple[str, ...]
    missed: dict[str, str]
    seconds: float
    output: str

    @property
    def is_caught(self) -> bool:
        """Whether every test that must catch the bug has caught it."""
        return not self.missed


@contextmanager
def open_workshop(*, redis_url: str) -> Iterator[Workshop]:
    """Copy the project and make a clean database on the server of `DATABASE_URL`; both are gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="saga-bridge-seeded-") as place:
        workshop = Workshop(place=Path(place), redis_url=redis_url)
        try:
            workshop.furnish()
            yield workshop
        finally:
            workshop.clear()


class Workshop:
    """Runs tests in a copy of the project, with a bug or without."""

    def __init__(self, *, place: Path, redis_url: str) -> None:
        self._place = place
        self._copy = place / "project"
        self._server = urlsplit(os.environ["DATABASE_URL"])
        # pytest-django puts "test_" before the name it is given.
        self._clean = f"seeded_{uuid4().hex[:8]}"
        self._used = f"test_{self._clean}"
        own = {
            "DATABASE_URL": urlunsplit(self._server._replace(path=f"/{self._clean}")),
            "REDIS_URL": redis_url,
            "DJANGO_SETTINGS_MODULE": "config.settings",
            "GIT_CEILING_DIRECTORIES": place.as_posix(),
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            NOTE_IN: (place / "verdicts.json").as_posix(),
        }
        outer = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST_", "GIT_"))}
        self._environment = outer | own

    def furnish(self) -> None:
        """Make the copy and the clean database."""
        shutil.copytree(PROJECT, self._copy, ignore=shutil.ignore_patterns(".*", "var"))
        self._administer(f"CREATE DATABASE {self._clean}")
        self._run([sys.executable, "manage.py", "migrate", "--verbosity", "0"]).check_returncode()

    def clear(self) -> None:
        """Drop the databases."""
        for name in (self._used, self._clean):
            self._administer(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def require_green(self, bugs: Sequence[SeededBug]) -> None:
        """Run the tests that must catch these bugs without any. Raises `TestsRed` unless all pass."""
        tests = sorted({test for bug in bugs for test in bug.tests})
        run, verdicts = self._test(tests, is_migrated=True)
        red = [test for test in tests if set(_of(test, verdicts)) != {PASSED}]
        if run.returncode or red:
            raise TestsRed(f"not green without a bug: {red}\n{_tail(run)}")

    def look_for(self, bug: SeededBug) -> Search:
        """Put the bug in, run the tests that must catch it, and take it out again. Raises `PatchStale`."""
        began = time.monotonic()
        self._apply(bug)
        try:
            run, verdicts = self._test(bug.tests, is_migrated=not bug.changes_schema)
        finally:
            self._apply(bug, "--reverse")
        missed = {}
        for test, error in bug.tests.items():
            cases = sorted(set(_of(test, verdicts)))
            if error not in cases:
                missed[test] = ", ".join(cases) or "did not run"
        caught_by = tuple(test for test in bug.tests if test not in missed)
        return Search(bug, caught_by, missed, time.monotonic() - began, _tail(run))

    def _apply(self, bug: SeededBug, *options: str) -> None:
        run = self._run(["git", "apply", "--verbose", "--whitespace=nowarn", *options, bug.patch.as_posix()])
        if run.returncode:
            raise PatchStale(f"{bug.patch.name} does not apply any more; refresh this hunk:\n{run.stdout}")

    def _test(
        self, tests: Iterable[str], *, is_migrated: bool
    ) -> tuple[subprocess.CompletedProcess[str], dict[str, str]]:
        """Run these tests on a database that nobody has used: a copy of the clean one, or one migrated anew."""
        self._administer(f"DROP DATABASE IF EXISTS {self._used} WITH (FORCE)")
        if is_migrated:
            self._administer(f"CREATE DATABASE {self._used} TEMPLATE {self._clean}")
        notes = Path(self._environment[NOTE_IN])
        notes.unlink(missing_ok=True)
        run = self._run([*_PYTEST, *_PLUGINS, "--reuse-db", *tests])
        return run, json.loads(notes.read_text()) if notes.exists() else {}

    def _run(self, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """Run a program in the copy; what it leaves behind is ended with it."""
        process = subprocess.Popen(
            command,
            cwd=self._copy,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            output, _ = process.communicate(timeout=PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            output, _ = process.communicate()
        return subprocess.CompletedProcess(command, process.returncode, output)

    def _administer(self, statement: str) -> None:
        with psycopg.connect(urlunsplit(self._server), autocommit=True) as connection:
            connection.execute(statement)


def _of(test: str, verdicts: dict[str, str]) -> Iterator[str]:
    """Return the verdicts of all cases of a test."""
    return (verdict for case, verdict in verdicts.items() if case == test or case.startswith(f"{test}["))


def _tail(run: subprocess.CompletedProcess[str]) -> str:
    return run.stdout[-_TAIL:]
