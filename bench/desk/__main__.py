"""Measure the desk's pages on full tables; print a table, write var/bench-desk.json, fail when a list is slow."""

from __future__ import annotations

import argparse
import json
import os
import secrets
import sys
import time
from collections.abc import Sequence

import httpx
from rich.console import Console
from rich.table import Table

from bench.desk.timing import LIMIT_MS, PATIENCE_SECONDS, TIMES, Timing, log_in, take_time
from config.local.errors import LocalStackError
from config.local.folder import PROJECT, StateFolder
from config.local.people import OPERATOR
from config.local.ports import free_port
from config.local.processes import Supervisor
from config.local.servers import start_servers
from config.local.stack import environment_of, wait_for_page, web_role

DATABASE = "saga_bridge_bench_desk"
# As many as a person reads; the file has all.
SHOWN = 40


def main() -> int:
    """Fill, measure, report. Returns the exit code: 1 when a list is slow or a page fails."""
    parser = argparse.ArgumentParser(prog="bench.desk")
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--messages", type=int, default=10_000_000)
    options = parser.parse_args()
    folder = StateFolder(path=StateFolder.of_project().path / "bench-desk")
    folder.path.mkdir(parents=True, exist_ok=True)
    with folder.hold(purpose="make bench-desk"):
        supervisor = Supervisor(folder=folder)
        try:
            timings = _measure(supervisor, folder, options)
        finally:
            supervisor.stop()
    report = StateFolder.of_project().path / "bench-desk.json"
    report.write_text(json.dumps(_figures(timings, options), indent=2) + "\n")
    _print(timings)
    Console().print(f"written to {report.relative_to(PROJECT)}")
    return 1 if any(timing.is_slow for timing in timings) else 0


def _measure(supervisor: Supervisor, folder: StateFolder, options: argparse.Namespace) -> list[Timing]:
    servers = start_servers(supervisor=supervisor, folder=folder, database=DATABASE, is_fresh=True, is_durable=False)
    environment = environment_of(servers=servers, folder=folder, database=DATABASE, is_fresh=True)
    os.environ.update(environment)

    import django
    from django.core.management import call_command

    django.setup()
    call_command("migrate", verbosity=0)

    from django.contrib.auth.models import User

    from bench.desk import filling, pages
    from desk.monitoring import refresh

    say = Console(stderr=True).print
    filling.fill(cases=options.cases, messages=options.messages, say=say)
    began = time.perf_counter()
    refresh.measure()
    say(f"measured for the first page in {time.perf_counter() - began:.1f} s")
    password = secrets.token_urlsafe(12)
    User.objects.create_superuser(OPERATOR, password=password)
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    supervisor.start(web_role(environment, port=port))
    wait_for_page(supervisor, name="web", url=f"{url}/healthz")
    with httpx.Client(base_url=url, timeout=PATIENCE_SECONDS, follow_redirects=True) as browser:
        home = log_in(browser, password=password)
        wanted = pages.all_pages(home)
        say(f"{len(wanted)} pages, {TIMES} times each")
        return [take_time(browser, page) for page in wanted]


def _figures(timings: Sequence[Timing], options: argparse.Namespace) -> dict[str, object]:
    lists = [timing for timing in timings if timing.page.is_list]
    return {
        "cases": options.cases,
        "messages": options.messages,
        "lists": len(lists),
        "slow": sum(timing.is_slow for timing in timings),
        "slowest_list_ms": max(timing.median_ms for timing in lists),
        "pages": [
            {
                "what": timing.page.what,
                "url": timing.page.url,
                "is_list": timing.page.is_list,
                "status": timing.status,
                "median_ms": round(timing.median_ms, 1),
                "slowest_ms": round(timing.slowest_ms, 1),
            }
            for timing in _slowest_first(timings)
        ],
    }


def _print(timings: Sequence[Timing]) -> None:
    table = Table("page", "status", "median ms", "slowest ms", "")
    for timing in _slowest_first(timings)[:SHOWN]:
        verdict = "SLOW" if timing.is_slow else ("" if timing.page.is_list else "no list")
        figures = f"{timing.median_ms:.0f}", f"{timing.slowest_ms:.0f}"
        table.add_row(timing.page.what, str(timing.status), *figures, verdict)
    console = Console(width=150)
    console.print(table)
    slow = sum(timing.is_slow for timing in timings)
    console.print(f"{len(timings)} pages; {slow} slower than {LIMIT_MS} ms or failed")


def _slowest_first(timings: Sequence[Timing]) -> list[Timing]:
    return sorted(timings, key=lambda timing: timing.median_ms, reverse=True)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except LocalStackError as error:
        sys.exit(str(error))
