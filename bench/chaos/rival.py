"""The naive flow beside the product: its processes on servers of its own, and its books as its tables have them."""

from __future__ import annotations

import socket
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import psycopg

from bench.chaos.books import Booked, Books, Shelf
from bench.chaos.storm import Running
from bench.chaos.wishes import PRICES
from bench.naive import tables
from config.local.folder import PROJECT, StateFolder
from config.local.network import put_network
from config.local.ports import free_port
from config.local.processes import Role, Supervisor
from config.local.servers import start_servers
from config.local.stack import environment_of, simulator_role, wait_for_page
from config.local.valkey import start_valkey

_DATABASE = "naive_chaos"
_READY_SECONDS = 60.0
# As many worker processes as the product has, in two workers.
_WORKERS = {"tasks-1": 3, "tasks-2": 3}
_ROLES = {
    "web": "web", "relay": "tasks-1", "effects": "tasks-2", "compensations": "tasks-1", "sweeps": "tasks-2",
    "beat": "tasks-1", "simulator": "simulator",
}  # fmt: skip
# A failed refund has a status of its own: somebody may look for it.
_ORDERS = """
SELECT id::text, status, amount, status = 'REFUND_FAILED', status <> 'CONFIRMED',
       CASE WHEN status IN ('CONFIRMED', 'CANCELLED', 'RETURNED')
            THEN extract(epoch FROM updated_at - placed_at)::float END
FROM orders
"""
_UNDONE = "SELECT count(*) FROM orders WHERE status IN ('PENDING', 'CANCELLING', 'RETURNING')"


@dataclass(frozen=True, kw_only=True)
class Rival:
    """The naive flow while it runs."""

    running: Running
    database_url: str

    def undone(self) -> int:
        """Count the orders that have not ended. Raises `psycopg.Error` while the database is away."""
        with psycopg.connect(self.database_url, connect_timeout=5) as connection:
            row = connection.execute(_UNDONE).fetchone()
        assert row is not None
        return int(row[0])

    def books(self) -> Books:
        """Read all orders and all stock in one snapshot."""
        items: dict[str, dict[str, int]] = defaultdict(dict)
        held: dict[str, dict[str, int]] = defaultdict(dict)
        with psycopg.connect(self.database_url) as connection:
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            for order_id, sku, quantity, reserved in connection.execute(
                "SELECT order_id::text, sku, quantity, reserved FROM lines"
            ):
                items[order_id][sku] = quantity
                if reserved:
                    held[order_id][sku] = quantity
            orders = [
                Booked(
                    id=order_id, status=status, amount=amount, items=items[order_id], held=held[order_id],
                    needs_person=needs_person, failed=failed, seconds=seconds,
                )
                for order_id, status, amount, needs_person, failed, seconds in connection.execute(_ORDERS)
            ]  # fmt: skip
            shelves = [
                Shelf(sku=sku, on_hand=on_hand, loaded=loaded)
                for sku, on_hand, loaded in connection.execute("SELECT sku, on_hand, loaded FROM stock")
            ]
        return Books(orders=orders, shelves=shelves)


@contextmanager
def run_rival(*, folder: StateFolder, customers: int, stock: Mapping[str, int]) -> Iterator[Rival]:
    """Run the naive flow with this stock on its shelves."""
    supervisor = Supervisor(folder=folder)
    try:
        # It lives in its broker, so it gets one that survives a crash; ours comes back empty.
        broker = {"REDIS_URL": start_valkey(supervisor=supervisor, folder=folder, is_durable=True)}
        servers = start_servers(supervisor=supervisor, folder=folder, database=_DATABASE, is_fresh=True, given=broker)
        tables.prepare(database_url=servers["DATABASE_URL"], stock=stock, prices=PRICES)
        environment = environment_of(servers=servers, folder=folder, database=_DATABASE, is_fresh=True)
        network = put_network(environment)
        supervisor.start(simulator_role(environment), _python("network", environment, *network.command))
        port = free_port()
        web = ("-m", "uvicorn", "bench.naive.shop:app", f"--port={port}", "--workers=2", "--no-access-log")
        supervisor.start(
            _python("web", network.environment, *web),
            *(_worker(name, count, network.environment) for name, count in _WORKERS.items()),
        )
        url = f"http://127.0.0.1:{port}"
        wait_for_page(supervisor, name="simulator", url=f"{environment['OUTSIDE_URL']}/healthz")
        wait_for_page(supervisor, name="network", url=f"{network.control_url}/links")
        wait_for_page(supervisor, name="web", url=f"{url}/readyz")
        for name in _WORKERS:
            supervisor.wait_for(name=name, is_ready=partial(_is_ready, supervisor, name), seconds=_READY_SECONDS)
        yield Rival(
            running=Running(
                supervisor=supervisor,
                url=url,
                outside_url=environment["OUTSIDE_URL"],
                network_url=network.control_url,
                tokens=["-"] * customers,
                roles=_ROLES,
            ),
            database_url=servers["DATABASE_URL"],
        )
    finally:
        supervisor.stop()


def _is_ready(supervisor: Supervisor, name: str) -> bool:
    return f"{name}@{socket.gethostname()} ready." in supervisor.log_file(name).read_text(errors="replace")


def _worker(name: str, processes: int, environment: Mapping[str, str]) -> Role:
    options = [f"-c{processes}", f"-n{name}@%h", "--without-gossip", "--without-mingle", "--loglevel=INFO"]
    return _python(name, environment, "-m", "celery", "-Abench.naive.work", "worker", *options)


def _python(name: str, environment: Mapping[str, str], *arguments: str) -> Role:
    return Role(name=name, command=[sys.executable, *arguments], environment=dict(environment), folder=PROJECT)
