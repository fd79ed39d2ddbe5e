"""The product under test: the whole stack on servers of its own, and its books as its tables have them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from bench.chaos.books import Booked, Books, Shelf
from bench.chaos.script import ROLES
from bench.chaos.storm import Running
from bench.chaos.wishes import PRICES
from config.local.folder import PROJECT, StateFolder
from config.local.ports import free_port
from config.local.processes import Supervisor
from config.local.stack import start_stack

_DATABASE = "saga_bridge_chaos"
# A claim that died with its worker is due again after the lease; a run has only a minute to settle.
_ENVIRONMENT = {
    "THROTTLE_CUSTOMER": "1000000/min",
    "THROTTLE_ADDRESS": "1000000/min",
    "RELAY_LEASE_SECONDS": "4",
    "GATEWAY_TIMEOUT_SECONDS": "1",
    "RECONCILIATION_TOLERANCE_SECONDS": "10",
}
# What went wrong on the way of an order: a try that failed, or a saga that turned back.
_ORDERS = """
SELECT o.id::text, o.status, o.amount,
       EXISTS (SELECT FROM sagas_case c WHERE c.key = o.id AND c.status = 'OPEN'),
       EXISTS (SELECT FROM outbox_attempt a WHERE a.ordering_key = o.id)
           OR EXISTS (SELECT FROM sagas_sagainstance s WHERE s.key = o.id AND s.name = 'order-fulfilment'
                      AND s.status <> 'RUNNING' AND s.status <> 'COMPLETED'),
       CASE WHEN o.status IN ('CONFIRMED', 'CANCELLED', 'RETURNED')
            THEN extract(epoch FROM o.updated_at - o.placed_at)::float END
FROM orders_order o
"""
_LINES = "SELECT order_id::text, sku, quantity FROM orders_orderline"
_HELD = "SELECT order_id::text, sku, quantity FROM inventory_reservation WHERE status = 'held'"
_SHELVES = "SELECT sku, on_hand, loaded FROM inventory_stock"
_CASES = "SELECT key::text, step, direction, error_class, error FROM sagas_case WHERE status = 'OPEN'"
# Unsettled orders that nobody has been told of, and work that is due or claimed.
_UNDONE = """
SELECT (SELECT count(*) FROM orders_order o WHERE o.status NOT IN ('CONFIRMED', 'CANCELLED', 'RETURNED')
        AND NOT EXISTS (SELECT FROM sagas_case c WHERE c.key = o.id AND c.status = 'OPEN'))
     + (SELECT count(*) FROM outbox_delivery d WHERE d.dead_at IS NULL AND d.kind = 'command')
"""


@dataclass(frozen=True, kw_only=True)
class Case:
    """What waits for a person; `is_refusal` if the bank refuses a refund for good."""

    key: str
    step: str
    error: str

    @property
    def is_refusal(self) -> bool:
        """Whether nothing but a person could have helped: the bank gives the money back to no program."""
        return "refund_refused" in self.error


@dataclass(frozen=True, kw_only=True)
class Product:
    """The product while it runs."""

    running: Running
    environment: Mapping[str, str]

    def undone(self) -> int:
        """Count what has still to be done. Raises `psycopg.Error` while the database is away."""
        with self._connect() as connection:
            row = connection.execute(_UNDONE).fetchone()
        assert row is not None
        return int(row[0])

    def books(self) -> Books:
        """Read all orders and all stock in one snapshot."""
        with self._connect() as connection:
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            items, held = _by_order(connection.execute(_LINES)), _by_order(connection.execute(_HELD))
            orders = [
                Booked(
                    id=order_id, status=status, amount=amount, items=items[order_id], held=held[order_id],
                    needs_person=needs_person, failed=failed, seconds=seconds,
                )
                for order_id, status, amount, needs_person, failed, seconds in connection.execute(_ORDERS)
            ]  # fmt: skip
            shelves = [
                Shelf(sku=sku, on_hand=on_hand, loaded=loaded) for sku, on_hand, loaded in connection.execute(_SHELVES)
            ]
        return Books(orders=orders, shelves=shelves)

    def cases(self) -> Sequence[Case]:
        """Read what waits for a person."""
        with self._connect() as connection:
            return [
                Case(key=key, step=step, error=f"{direction} {error_class}: {error}")
                for key, step, direction, error_class, error in connection.execute(_CASES)
            ]

    def audit(self) -> Sequence[Mapping[str, str]]:
        """Run the product's own audit; return its findings."""
        done = _manage("audit_consistency", "--json", environment=self.environment)
        findings: list[dict[str, str]] = json.loads(done.stdout)["findings"]
        return findings

    def _connect(self) -> psycopg.Connection[Any]:
        return psycopg.connect(self.environment["DATABASE_URL"], connect_timeout=5)


@contextmanager
def run_product(*, folder: StateFolder, customers: int, stock: Mapping[str, int]) -> Iterator[Product]:
    """Run the product with this stock on its shelves."""
    supervisor = Supervisor(folder=folder)
    kept = dict(os.environ)
    try:
        for name in ("DATABASE_URL", "REDIS_URL", "CELERY_BROKER_URL"):
            os.environ.pop(name, None)
        os.environ.update(_ENVIRONMENT)
        stack = start_stack(
            supervisor=supervisor,
            folder=folder,
            port=free_port(),
            customers=customers,
            database=_DATABASE,
            is_fresh=True,
            has_network=True,
        )
        catalogue = folder.path / "catalogue.csv"
        _write_catalogue(catalogue, stock)
        _manage("load_catalogue", str(catalogue), environment=stack.environment).check_returncode()
        yield Product(
            running=Running(
                supervisor=supervisor,
                url=stack.url,
                outside_url=stack.environment["OUTSIDE_URL"],
                network_url=stack.network_url,
                tokens=stack.tokens,
                roles={role: role for role in ROLES},
            ),
            environment=stack.environment,
        )
    finally:
        os.environ.clear()
        os.environ.update(kept)
        supervisor.stop()


def _write_catalogue(path: Path, stock: Mapping[str, int]) -> None:
    rows = [f"{sku},{sku},{PRICES[sku] / 100:.2f},EUR,{pieces}" for sku, pieces in stock.items()]
    path.write_text("\n".join(("sku,name,price,currency,stock", *rows)) + "\n")


def _manage(*arguments: str, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "manage.py", *arguments]
    return subprocess.run(command, env=dict(environment), cwd=PROJECT, capture_output=True, text=True, check=False)


def _by_order(rows: Any) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = defaultdict(dict)
    for order_id, sku, quantity in rows:
        found[order_id][sku] = quantity
    return found
