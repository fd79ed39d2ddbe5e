"""Run the benchmark: floor, product, product over HTTP, open loop; print a table, write var/bench.json."""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from config.local.errors import LocalStackError
from config.local.folder import PROJECT, StateFolder
from config.local.ports import free_port
from config.local.processes import Supervisor
from config.local.servers import start_servers
from config.local.stack import (
    beat_role,
    environment_of,
    simulator_role,
    wait_for_page,
    wait_for_workers,
    web_role,
    worker_roles,
)

DATABASE = "saga_bridge_bench"
# Over HTTP each order costs two calls of a Python client; a smaller backlog tells as much.
HTTP_SHARE = 0.4


def main() -> int:
    """Measure all and report. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="bench")
    parser.add_argument("--orders", type=int, default=5_000)
    parser.add_argument("--rate", type=float, default=20)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--profile", action="store_true", help="print the costliest statements")
    options = parser.parse_args()
    folder = StateFolder(path=StateFolder.of_project().path / "bench")
    folder.path.mkdir(parents=True, exist_ok=True)
    with folder.hold(purpose="make bench"):
        supervisor = Supervisor(folder=folder)
        try:
            figures = _measure(supervisor, folder, options)
        finally:
            supervisor.stop()
    report = StateFolder.of_project().path / "bench.json"
    report.write_text(json.dumps(figures, indent=2) + "\n")
    _print(figures, report)
    return 0


def _measure(supervisor: Supervisor, folder: StateFolder, options: argparse.Namespace) -> dict[str, Any]:
    servers = start_servers(supervisor=supervisor, folder=folder, database=DATABASE, is_fresh=True)
    os.environ.update(servers | {"DJANGO_SETTINGS_MODULE": "config.settings"})

    import django
    from django.core.management import call_command

    django.setup()
    call_command("migrate", verbosity=0)

    from bench import backlog, drain, floor, load

    backlog.stock_up()
    say = Console(stderr=True).print
    say("floor: one transaction per order, raw psycopg, 4 processes")
    orders = backlog.prepare(count=options.orders, told=False)
    floor_per_s = floor.run(database_url=servers["DATABASE_URL"], orders=orders)

    say("product: bank and carrier in process")
    instant = {"PAYMENT_GATEWAY": "instant", "CARRIER": "instant"}
    with _product(folder, servers, instant) as (running, _):
        backlog.prepare(count=options.orders, told=True)
        pids = running.pids() | supervisor.pids()
        product = drain.drain(orders=options.orders, pids=pids)
    if options.profile:
        for text, calls, spent in product.costliest:
            say(f"{spent:8.0f} ms {calls:6d} calls  {text[:130]}", markup=False, highlight=False)

    say("product: bank and carrier over HTTP")
    with _product(folder, servers, {}) as (running, _):
        backlog.prepare(count=int(options.orders * HTTP_SHARE), told=True)
        pids = running.pids() | supervisor.pids()
        over_http = drain.drain(orders=int(options.orders * HTTP_SHARE), pids=pids)

    say(f"open loop: {options.rate:g} orders/s for {options.seconds:g} s")
    backlog.tidy()
    with _product(folder, servers, {}) as (running, environment):
        port = free_port()
        running.start(web_role(environment, port=port), beat_role(environment))
        url = f"http://127.0.0.1:{port}"
        wait_for_page(running, name="web", url=f"{url}/readyz")
        latency = load.run(url=url, token=_token(), rate=options.rate, seconds=options.seconds)
    return {
        "orders": options.orders,
        "floor_orders_per_s": floor_per_s,
        "saga_orders_per_s": product.orders_per_s,
        "ratio": product.orders_per_s / floor_per_s,
        "http_orders_per_s": over_http.orders_per_s,
        "cpu_ms_per_saga": product.cpu_ms_per_saga,
        "worker_cpu_ms_per_saga": product.worker_cpu_ms_per_saga,
        "cpu_ms_by_role": product.cpu_ms_by_role,
        "statements_per_saga": product.statements_per_saga,
        "peak_rss_mib": max(product.peak_rss_mib, over_http.peak_rss_mib),
        **{name: value for name, value in asdict(latency).items() if name != "sent"},
    }


@contextmanager
def _product(
    folder: StateFolder, servers: Mapping[str, str], extra: Mapping[str, str]
) -> Iterator[tuple[Supervisor, dict[str, str]]]:
    """Run the workers, with the bank and the carrier when they are needed."""
    own = StateFolder(path=folder.path / "product")
    own.path.mkdir(exist_ok=True)
    running = Supervisor(folder=own)
    try:
        environment = {
            **environment_of(servers=servers, folder=own, database=DATABASE, is_fresh=True),
            "MAIL_FOLDER": "",
            **extra,
        }
        running.start(simulator_role(environment))
        wait_for_page(running, name="simulator", url=f"{environment['OUTSIDE_URL']}/healthz")
        running.start(*worker_roles(environment))
        wait_for_workers(running, environment)
        yield running, environment
    finally:
        running.stop()


def _token() -> str:
    from django.core.management import call_command

    output = io.StringIO()
    call_command("api_token", customer="bench", stdout=output)
    return output.getvalue().strip()


def _print(figures: Mapping[str, Any], report: Path) -> None:
    table = Table("figure", "value")
    for name, value in figures.items():
        table.add_row(name, _shown(value))
    console = Console()
    console.print(table)
    console.print(f"written to {report.relative_to(PROJECT)}")


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{role} {spent:.2f}" for role, spent in value.items())
    return f"{value:.2f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except LocalStackError as error:
        sys.exit(str(error))
