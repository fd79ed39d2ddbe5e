"""A simulator process to test against: started on a free port, spoken to over HTTP, stopped by signal."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).parents[3]
HOLD_SECONDS = 2.0
GIVE_UP_SECONDS = 0.3


def start(ledger: Path, *options: str, port: int) -> subprocess.Popen[str]:
    """Start `python -m simulator`; port 0 picks a free one."""
    return subprocess.Popen(
        [sys.executable, "-m", "simulator", "--port", str(port), "--hold-seconds", str(HOLD_SECONDS), *options],
        cwd=ROOT,
        env={**os.environ, "SIMULATOR_LEDGER": str(ledger)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


class Simulator:
    """One simulator with a client of its own, and a ledger that outlives the process."""

    def __init__(self, ledger: Path, *options: str) -> None:
        self.ledger = ledger
        self._options = options
        self.start()

    def start(self) -> None:
        """Start the process, again after a kill, and wait until it says where it listens."""
        self.process = start(self.ledger, *self._options, port=0)
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().split()[-1]
        self.http = httpx.Client(base_url=self.url, timeout=10)

    def stop(self, how: signal.Signals) -> str:
        """Stop the process and return what it printed after its first line; safe to repeat."""
        self.http.close()
        if self.process.stdout is None or self.process.stdout.closed:
            return ""
        self.process.send_signal(how)
        printed, _ = self.process.communicate(timeout=10)
        return printed

    def charge(self, key: str, *, method: str = "pm_card_visa", timeout: float = 10, **changes: Any) -> httpx.Response:
        body = {"order_id": key, "amount": 1234, "currency": "EUR", "payment_method": method, **changes}
        headers = {"Idempotency-Key": key}
        return self.http.post("/bank/charges", json=body, headers=headers, timeout=timeout)

    def refund(self, key: str, *, charge_key: str, **changes: Any) -> httpx.Response:
        body = {
            "order_id": charge_key,
            "charge_key": charge_key,
            "amount": 1234,
            "currency": "EUR",
            **changes,
        }
        return self.http.post("/bank/refunds", json=body, headers={"Idempotency-Key": key})

    def ship(self, key: str, *, country: str = "DE", timeout: float = 10) -> httpx.Response:
        address = {"name": "Ada", "line1": "1 Zoë St", "city": "Köln", "postal_code": "1", "country": country}
        body = {"order_id": key, "address": address, "items": [{"sku": "MUG", "quantity": 2}]}
        headers = {"Idempotency-Key": key}
        return self.http.post("/carrier/shipments", json=body, headers=headers, timeout=timeout)

    def control(self, service: str, **changes: Any) -> httpx.Response:
        return self.http.put(f"/{service}/control", json=changes)

    def kinds(self, service: str, order_id: str) -> list[str]:
        entries = self.http.get(f"/{service}/ledger", params={"order_id": order_id}).json()
        return [entry["kind"] for entry in entries]
