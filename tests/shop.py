"""The shop as its customers, its bank and its operators see it: over HTTP and by command, nothing from inside."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any

import httpx
import psutil
import psycopg

from config.local.folder import PROJECT
from config.local.processes import Supervisor
from config.local.stack import Stack

ADDRESS = {"name": "Ada", "line1": "1 Main St", "city": "Berlin", "postal_code": "10115", "country": "DE"}
PATIENCE_SECONDS = 60.0
_POLL_SECONDS = 0.1
_UNSETTLED = {"PENDING", "CANCELLING", "RETURNING"}


class Shop:
    """The running product. Whoever waits for it keeps its processes alive, as `make up` does."""

    def __init__(self, *, stack: Stack, supervisor: Supervisor) -> None:
        self._stack = stack
        self._supervisor = supervisor
        self._tokens = iter(stack.tokens)
        self.http = httpx.Client(base_url=stack.url, timeout=PATIENCE_SECONDS)

    def close(self) -> None:
        """Let the connections go."""
        self.http.close()

    def customer(self) -> Customer:
        """Return a customer who has not ordered anything yet."""
        return Customer(self, next(self._tokens))

    def wait_until(self, is_so: Callable[[], bool], *, seconds: float = PATIENCE_SECONDS) -> None:
        """Wait, and start again what has died meanwhile. Fails when it does not come true."""
        limit = time.monotonic() + seconds
        while not is_so():
            assert time.monotonic() < limit, f"still not so after {seconds} s"
            self._supervisor.tend()
            time.sleep(_POLL_SECONDS)

    def bank(self, order_id: str) -> list[tuple[str, int]]:
        """Return what the bank's own ledger says of an order: kinds and amounts."""
        return [(row["kind"], row["amount"]) for row in self._ledger("BANK_URL", order_id)]

    def carrier(self, order_id: str) -> list[str]:
        """Return what the carrier's own ledger says of an order."""
        return [row["kind"] for row in self._ledger("CARRIER_URL", order_id)]

    def available(self, sku: str) -> int:
        """Return how many pieces of a product can be ordered."""
        token = self._stack.tokens[0]
        page = self.http.get("/api/v1/products?page_size=100", headers={"Authorization": f"Token {token}"})
        return int({item["sku"]: item["available"] for item in page.raise_for_status().json()["results"]}[sku])

    def manage(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command as an operator does."""
        return subprocess.run(
            [sys.executable, "manage.py", *arguments],
            env=dict(self._stack.environment),
            cwd=PROJECT,
            capture_output=True,
            text=True,
            check=False,
        )

    def audit(self) -> tuple[int, list[dict[str, str]]]:
        """Return the exit code of the consistency audit and what it has found."""
        run = self.manage("audit_consistency", "--json")
        assert run.stdout, run.stderr
        return run.returncode, json.loads(run.stdout)["findings"]

    @property
    def url(self) -> str:
        """Where its web process answers."""
        return self._stack.url

    @property
    def admin_password(self) -> str:
        """The password of the account `admin`, who may do everything at the desk."""
        return self._stack.admin_password

    @property
    def environment(self) -> Mapping[str, str]:
        """The environment of the product's processes."""
        return self._stack.environment

    @property
    def pids(self) -> dict[str, int]:
        """The process id of every role, as it is now."""
        return self._supervisor.pids()

    def tend(self) -> list[str]:
        """Start again what has died; return the names of those roles."""
        return self._supervisor.tend()

    def control(self, whose: str, **settings: Any) -> None:
        """Change the fault settings of the `bank` or the `carrier`."""
        url = self._stack.environment[f"{whose.upper()}_URL"]
        httpx.put(f"{url}/control", json=settings, timeout=10).raise_for_status()

    def link(self, name: str, **weather: Any) -> None:
        """Change how the network between the product and `bank`, `carrier`, `database` or `broker` behaves.

        The settings are those of `simulator.proxy.Weather`; none given resets its connections once.
        """
        url = f"{self._stack.network_url}/links/{name}"
        answer = httpx.put(url, json=weather, timeout=10) if weather else httpx.post(f"{url}/reset", timeout=10)
        answer.raise_for_status()

    def query(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Read from the shop's database."""
        with psycopg.connect(self._stack.environment["DATABASE_URL"], autocommit=True) as connection:
            return connection.execute(statement, values).fetchall()

    def kill(self, role: str) -> None:
        """Kill the main process of a role (web, beat, simulator, a queue's worker), as the machine would."""
        os.kill(self._supervisor.pids()[role], signal.SIGKILL)

    def kill_child(self, queue: str) -> None:
        """Kill one process of a worker's pool."""
        psutil.Process(self._supervisor.pids()[queue]).children()[0].kill()

    def renew(self, role: str, **environment: str) -> None:
        """End a role as a deploy does, and start it again with these settings beside its own."""
        [child] = [child for child in self._supervisor._children() if child.role.name == role]
        settings: dict[str, str] = child.role.environment  # type: ignore[assignment]
        settings.update(environment)
        os.kill(child.process.pid, signal.SIGTERM)
        self.wait_until(lambda: self._supervisor.pids()[role] != child.process.pid)

    def _ledger(self, whose: str, order_id: str) -> list[dict[str, Any]]:
        rows = httpx.get(f"{self._stack.environment[whose]}/ledger", params={"order_id": order_id}, timeout=10)
        entries: list[dict[str, Any]] = rows.raise_for_status().json()
        return entries


class Customer:
    """One customer of the shop."""

    def __init__(self, shop: Shop, token: str) -> None:
        self._shop = shop
        self._headers = {"Authorization": f"Token {token}"}

    def order(
        self,
        items: Mapping[str, int],
        *,
        payment_method: str = "pm_card_visa",
        country: str = "DE",
        key: str | None = None,
        **headers: str,
    ) -> httpx.Response:
        """Send a checkout."""
        body = {
            "items": [{"sku": sku, "quantity": quantity} for sku, quantity in items.items()],
            "payment_method": payment_method,
            "shipping_address": ADDRESS | {"country": country},
        }
        return self.post("/api/v1/orders", body, key=key, **headers)

    def place(self, items: Mapping[str, int], **options: str) -> str:
        """Send a checkout that is accepted; return the order's id."""
        return str(self.order(items, **options).raise_for_status().json()["id"])

    def post(self, path: str, body: object = None, *, key: str | None = None, **headers: str) -> httpx.Response:
        """Send something once, under a key of its own if none is given."""
        key = key or str(uuid.uuid4())
        return self._shop.http.post(path, json=body, headers=self._headers | headers | {"Idempotency-Key": key})

    def get(self, path: str) -> Any:
        """Read a page."""
        return self._shop.http.get(path, headers=self._headers).raise_for_status().json()

    def ask(self, path: str) -> httpx.Response:
        """Read a page; return the answer, whatever it is."""
        return self._shop.http.get(path, headers=self._headers)

    def end_of(self, order_id: str) -> str:
        """Wait until the order is settled; return its status, with the reason."""
        order: dict[str, Any] = {}

        def is_settled() -> bool:
            order.update(self.get(f"/api/v1/orders/{order_id}"))
            return order["status"] not in _UNSETTLED

        self._shop.wait_until(is_settled)
        return f"{order['status']} {order['reason'] or ''}".strip()

    def story_of(self, order_id: str) -> Any:
        """Return the order's timeline."""
        return self.get(f"/api/v1/orders/{order_id}/timeline")

    def status_of(self, order_id: str) -> str:
        """Return the order's status as it is now."""
        return str(self.get(f"/api/v1/orders/{order_id}")["status"])

    def orders(self) -> list[str]:
        """Return the ids of all orders of this customer."""
        page = self.get("/api/v1/orders?page_size=100")
        return [order["id"] for order in page["results"]]
