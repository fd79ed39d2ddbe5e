"""The frame of a sweep: learn, crash, and let the watcher, the audit and the mailbox have the last word."""

from __future__ import annotations

import email
import time
from collections.abc import Callable, Iterator
from email.message import Message
from pathlib import Path

from outbox.crash_points import CrashPoints
from tests.faults.sweep.report import report
from tests.faults.sweep.scenarios import Scenario
from tests.faults.sweep.sweeping import Sweep
from tests.faults.sweep.watcher import Watcher
from tests.shop import Shop

# Django's file backend ends each letter with a line of dashes.
_RULE = "-" * 79 + "\n"
_ENDS = "SELECT count(*) FROM outbox_message WHERE type IN ('order.confirmed', 'order.cancelled', 'order.returned')"


class Frame:
    """A running shop whose processes can be made to crash, ready to be swept."""

    def __init__(self, *, shop: Shop, folder: Path, show: Callable[[str, object], None]) -> None:
        self._shop = shop
        self._folder = folder
        self._show = show

    def sweep(self, *, name: str, scenario: Scenario, crash: Callable[[Sweep], None]) -> list[str]:
        """Learn the scenario, crash it as told, and report. Returns all that went wrong."""
        began = time.monotonic()
        shop = self._shop
        problems: list[str] = []
        sweep = Sweep(shop=shop, points=CrashPoints(self._folder), scenario=scenario)
        watcher = Watcher(database_url=shop.environment["DATABASE_URL"], bank_url=shop.environment["BANK_URL"])
        with watcher:
            try:
                sweep.learn()
                crash(sweep)
            except AssertionError as error:
                problems.append(f"given up: {error}")
            finally:
                sweep.close()
        problems += watcher.violations
        if not watcher.looks:
            problems.append("the watcher has never looked")
        code, findings = shop.audit()
        if code or findings:
            problems.append(f"audit: exit code {code}, {findings}")
        problems += _misposted(shop)
        seconds = time.monotonic() - began
        table = report(name=name, sweep=sweep, watcher=watcher, seconds=seconds, problems=problems)
        self._show("figures", table)
        return [problem for trial in sweep.trials for problem in trial.problems] + problems


def _misposted(shop: Shop) -> list[str]:
    """Compare the mailbox with what notifications says: every e-mail went out, if need be twice under one id."""
    files = Path(shop.environment["MAIL_FOLDER"]).glob("*.log")
    posted = {letter["Message-ID"].strip("<>").partition("@")[0] for file in files for letter in _letters(file)}
    noted = {str(message_id) for (message_id,) in shop.query("SELECT message_id FROM notifications_email")}
    [(ends,)] = shop.query(_ENDS)
    if posted == noted and ends == len(noted):
        return []
    return [f"mailbox: {ends} orders ended, {len(noted)} e-mails noted, {len(posted)} posted"]


def _letters(file: Path) -> Iterator[Message]:
    for text in file.read_text().split(_RULE):
        if text.strip():
            yield email.message_from_string(text)
