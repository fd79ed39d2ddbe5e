"""The bank's webhooks: signed, repeated until they are taken, and not lost when the bank is killed."""

import hashlib
import hmac
import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.integration.simulator.process import Simulator

SECRET = "the-secret-of-bank-and-shop"


class Receiver:
    """A shop that takes webhooks, or refuses them while it is told to."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.is_refusing = False
        self.refused = 0
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.take(self, body)

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/hooks"

    def take(self, handler: BaseHTTPRequestHandler, body: bytes) -> None:
        if self.is_refusing:
            self.refused += 1
        elif _is_signed(handler.headers["Webhook-Signature"], body):
            self.bodies.append(body)
        handler.send_response(503 if self.is_refusing else 200)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def events(self) -> list[tuple[str, str]]:
        told = [json.loads(body) for body in self.bodies]
        return [(event["type"], event["data"]["key"]) for event in told]

    def wait_for(self, is_so: Callable[[], bool]) -> None:
        limit = time.monotonic() + 20
        while not is_so():
            assert time.monotonic() < limit, self.events
            time.sleep(0.02)


def _is_signed(header: str, body: bytes) -> bool:
    seconds, signature = header.removeprefix("t=").split(",v1=")
    wanted = hmac.new(SECRET.encode(), seconds.encode() + b"." + body, hashlib.sha256).hexdigest()
    return abs(time.time() - int(seconds)) < 60 and hmac.compare_digest(wanted, signature)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


@pytest.fixture
def telling(tmp_path: Path, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> Iterator[Simulator]:
    """Start a bank that sends webhooks to the receiver."""
    monkeypatch.setenv("SIMULATOR_WEBHOOK_SECRET", SECRET)
    simulator = Simulator(tmp_path / "ledger.sqlite3", f"--webhook-url={receiver.url}")
    yield simulator
    simulator.stop(signal.SIGKILL)


def test_a_charge_a_refund_and_a_dispute_are_told(telling: Simulator, receiver: Receiver, key: str) -> None:
    telling.charge(key)
    telling.charge(f"{key}-2", method="pm_card_visa_chargeDeclined")
    telling.refund(f"{key}-r", charge_key=key)
    disputed = telling.http.post("/bank/disputes", json={"charge_key": key})
    unknown = telling.http.post("/bank/disputes", json={"charge_key": "another"})
    receiver.wait_for(lambda: len(receiver.bodies) == 3)

    entries = telling.http.get("/bank/ledger", params={"order_id": key}).json()
    told = sorted((json.loads(body) for body in receiver.bodies), key=lambda event: event["type"])
    assert (disputed.status_code, unknown.status_code) == (201, 404)
    assert [event["type"] for event in told] == ["charged", "disputed", "refunded"]
    assert [told[0]["data"], told[2]["data"]] == entries
    assert told[1]["data"]["key"] == key
    assert len({event["id"] for event in told}) == 3


def test_a_webhook_is_repeated_until_it_is_taken_even_by_a_bank_that_was_killed(
    telling: Simulator, receiver: Receiver, key: str
) -> None:
    receiver.is_refusing = True
    telling.charge(key)
    receiver.wait_for(lambda: receiver.refused > 1)
    telling.stop(signal.SIGKILL)
    receiver.is_refusing = False
    telling.start()
    receiver.wait_for(lambda: receiver.events == [("charged", key)])

    telling.charge(f"{key}-2")
    receiver.wait_for(lambda: len(receiver.bodies) == 2)

    assert receiver.events == [("charged", key), ("charged", f"{key}-2")]


def test_copies_delay_hold_and_order(telling: Simulator, receiver: Receiver, key: str) -> None:
    telling.control("bank", webhook_hold=True, webhook_copies=3, webhook_newest_first=True)
    telling.charge(key)
    telling.refund(f"{key}-r", charge_key=key)
    time.sleep(0.3)
    held = list(receiver.events)
    telling.control("bank", webhook_hold=False)
    receiver.wait_for(lambda: len(receiver.bodies) == 6)
    telling.control("bank", webhook_copies=1, webhook_delay_ms=600, webhook_newest_first=False)
    began = time.monotonic()
    telling.charge(f"{key}-2")
    receiver.wait_for(lambda: len(receiver.bodies) == 7)

    assert held == []
    assert receiver.events[:6] == [("refunded", f"{key}-r")] * 3 + [("charged", key)] * 3
    assert len(set(receiver.bodies[:6])) == 2
    assert time.monotonic() - began >= 0.6


def test_held_calls_are_carried_out_when_the_hold_is_over(simulator: Simulator, key: str) -> None:
    simulator.control("bank", hold=True)
    with pytest.raises(Exception, match="timed out"):
        simulator.charge(key, timeout=0.3)
    during = simulator.http.get(f"/bank/charges/{key}").status_code
    simulator.control("bank", hold=False)
    limit = time.monotonic() + 10
    while simulator.kinds("bank", key) != ["charge"]:
        assert time.monotonic() < limit
        time.sleep(0.02)

    assert during == 404


def test_the_ledger_since_a_time_in_pages(simulator: Simulator, key: str) -> None:
    for n in range(4):
        simulator.charge(f"{key}-{n}")
    whole = simulator.http.get("/bank/ledger").json()
    since = whole[-3]["at"]

    later = simulator.http.get("/bank/ledger", params={"since": since}).json()
    page = simulator.http.get("/bank/ledger", params={"since": since, "limit": 2}).json()
    first = simulator.http.get("/bank/ledger", params={"limit": 1}).json()
    local = simulator.http.get("/bank/ledger", params={"since": since.replace("+00:00", "Z")}).json()
    wrong = [
        simulator.http.get("/bank/ledger", params=query).status_code
        for query in ({"since": "yesterday"}, {"since": "2026-01-01T00:00:00"}, {"limit": 0}, {"limit": "x"})
    ]

    assert later == local == whole[-3:]
    assert page == whole[-3:-1]
    assert first == whole[:1]
    assert wrong == [400] * 4
