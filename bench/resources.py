"""What a run costs: processor time and memory of every process, statements of the database."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field

import psutil
from django.db import connection

SAMPLE_SECONDS = 0.2
MIB = 1024 * 1024


@dataclass
class Meter:
    """Measure the process trees of some roles between `start` and `stop`.

    Processor time is read from the operating system's own accounting; a child that ends meanwhile is counted by its
    parent once it is reaped. Memory is sampled: the peak of each process's resident set, shared pages included.
    """

    pids: Mapping[str, int]
    cpu_seconds: dict[str, float] = field(default_factory=dict)
    peak_mib: dict[str, float] = field(default_factory=dict)

    def start(self) -> None:
        """Begin to measure."""
        self._before = {role: _cpu(pid) for role, pid in self.pids.items()}
        self._over = threading.Event()
        self._sampler = threading.Thread(target=self._sample, daemon=True)
        self._sampler.start()

    def stop(self) -> None:
        """End, and fill in the figures by role."""
        self._over.set()
        self._sampler.join()
        for role, pid in self.pids.items():
            self.cpu_seconds[role] = _cpu(pid) - self._before[role]

    def _sample(self) -> None:
        while not self._over.wait(SAMPLE_SECONDS):
            for role, pid in self.pids.items():
                for process in _tree(pid):
                    with suppress(psutil.Error):
                        mib = process.memory_info().rss / MIB
                        self.peak_mib[role] = max(self.peak_mib.get(role, 0), mib)


def reset_statements() -> None:
    """Forget the statements counted so far."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_stat_statements_reset()")


def statements() -> tuple[int, list[tuple[str, int, float]]]:
    """Return how many statements ran since the reset, transaction control included, and the costliest (text, calls,
    milliseconds)."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT regexp_replace(query, '\\s+', ' ', 'g'), calls, total_exec_time FROM pg_stat_statements s "
            "JOIN pg_database d ON d.oid = s.dbid WHERE d.datname = current_database() ORDER BY total_exec_time DESC"
        )
        rows = [(text, int(calls), float(spent)) for text, calls, spent in cursor.fetchall()]
    return sum(calls for _, calls, _ in rows), rows[:15]


def _tree(pid: int) -> list[psutil.Process]:
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.Error:
        return []


def _cpu(pid: int) -> float:
    total = 0.0
    for process in _tree(pid):
        with suppress(psutil.Error):
            times = process.cpu_times()
            total += times.user + times.system
            if process.pid == pid:
                total += times.children_user + times.children_system
    return total
