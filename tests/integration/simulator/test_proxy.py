"""The network between programs as a process: it forwards, delays, cuts, swallows, and loses answers."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from config.local.ports import free_port
from tests.integration.simulator.process import ROOT, Simulator

_GIVE_UP_SECONDS = 0.5
_PATIENCE_SECONDS = 30.0


class Proxy:
    """A proxy process with one link, which leads to a simulator."""

    def __init__(self, target: str) -> None:
        self.port, control = free_port(), free_port()
        self.url = f"http://127.0.0.1:{control}"
        address = httpx.URL(target)
        link = f"bank={self.port}:{address.host}:{address.port}"
        self.process = subprocess.Popen([sys.executable, "-m", "simulator.proxy", f"--port={control}", link], cwd=ROOT)
        limit = time.monotonic() + _PATIENCE_SECONDS
        while not self._answers():
            assert time.monotonic() < limit, "the proxy does not answer"
            time.sleep(0.05)

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.url}/links").is_success
        except httpx.TransportError:
            return False

    def weather(self, **settings: object) -> httpx.Response:
        return httpx.put(f"{self.url}/links/bank", json=settings)

    def call(self, key: str) -> httpx.Response:
        body = {"order_id": key, "amount": 1, "currency": "EUR", "payment_method": "pm_card_visa"}
        url = f"http://127.0.0.1:{self.port}/bank/charges"
        return httpx.post(url, json=body, headers={"Idempotency-Key": key}, timeout=_GIVE_UP_SECONDS * 4)


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Simulator]:
    """Start the bank that the link leads to."""
    simulator = Simulator(tmp_path_factory.mktemp("proxied") / "ledger.sqlite3")
    yield simulator
    simulator.process.terminate()
    simulator.process.communicate(timeout=10)
    simulator.http.close()


@pytest.fixture(scope="module")
def running(behind: Simulator) -> Iterator[Proxy]:
    """Start the network in front of the bank."""
    proxy = Proxy(behind.url)
    yield proxy
    proxy.process.terminate()
    assert proxy.process.wait(timeout=10) is not None


@pytest.fixture
def proxy(running: Proxy) -> Iterator[Proxy]:
    """Lend the network, and make it calm again."""
    yield running
    running.weather(latency_ms=0, jitter_ms=0, cut=False, silent=False, answers_lost=False)


def test_a_calm_link_forwards_both_ways(proxy: Proxy, behind: Simulator, key: str) -> None:
    answer = proxy.call(key)

    assert answer.status_code == 201
    assert behind.kinds("bank", key) == ["charge"]


def test_a_slow_link_takes_its_time_in_each_direction(proxy: Proxy, key: str) -> None:
    proxy.weather(latency_ms=150)
    began = time.monotonic()

    answer = proxy.call(key)

    assert answer.status_code == 201
    assert time.monotonic() - began >= 0.3


def test_a_cut_link_resets_and_delivers_nothing(proxy: Proxy, behind: Simulator, key: str) -> None:
    proxy.weather(cut=True)

    with pytest.raises(httpx.TransportError) as error:
        proxy.call(key)

    assert not isinstance(error.value, httpx.TimeoutException)
    assert behind.kinds("bank", key) == []
    proxy.weather(cut=False)
    assert proxy.call(key).status_code == 201


def test_a_silent_link_accepts_and_never_answers(proxy: Proxy, behind: Simulator, key: str) -> None:
    proxy.weather(silent=True)

    with pytest.raises(httpx.ReadTimeout):
        proxy.call(key)

    assert behind.kinds("bank", key) == []


def test_a_link_that_loses_answers_delivers_what_was_asked(proxy: Proxy, behind: Simulator, key: str) -> None:
    proxy.weather(answers_lost=True)

    with pytest.raises(httpx.ReadTimeout):
        proxy.call(key)

    assert behind.kinds("bank", key) == ["charge"]
    proxy.weather(answers_lost=False)
    assert proxy.call(key).headers["Idempotent-Replayed"] == "true"


def test_a_connection_that_has_lost_data_is_reset_when_the_link_is_mended(proxy: Proxy) -> None:
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=_PATIENCE_SECONDS) as connection:
        proxy.weather(silent=True)
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: bank\r\n\r\n")
        limit = time.monotonic() + _PATIENCE_SECONDS
        connection.settimeout(0.2)
        ended = False
        while not ended and time.monotonic() < limit:
            proxy.weather(silent=True)
            time.sleep(0.2)
            proxy.weather(silent=False)
            try:
                ended = connection.recv(100) == b""
            except ConnectionResetError:
                ended = True
            except TimeoutError:
                ended = False

    assert ended


def test_open_connections_can_be_reset_once(proxy: Proxy) -> None:
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=_PATIENCE_SECONDS) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: bank\r\n\r\n")
        first = connection.recv(10_000)
        httpx.post(f"{proxy.url}/links/bank/reset").raise_for_status()

        connection.settimeout(_PATIENCE_SECONDS)
        with pytest.raises(ConnectionResetError):
            connection.recv(100)

    assert first.startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    ("path", "settings", "status"),
    [
        ("bank", {"latency_ms": -1}, 400),
        ("bank", {"latency_ms": True}, 400),
        ("bank", {"cut": 1}, 400),
        ("bank", {"speed": 1}, 400),
        ("moon", {"cut": True}, 404),
    ],
)
def test_what_makes_no_sense_is_refused_whole(
    proxy: Proxy, path: str, settings: dict[str, object], status: int
) -> None:
    before = httpx.get(f"{proxy.url}/links").json()

    answer = httpx.put(f"{proxy.url}/links/{path}", json={"jitter_ms": 5, **settings})

    assert answer.status_code == status
    assert httpx.get(f"{proxy.url}/links").json() == before


def test_a_port_in_use_is_one_clear_line(proxy: Proxy, tmp_path: Path) -> None:
    port = httpx.URL(proxy.url).port

    second = subprocess.run(
        [sys.executable, "-m", "simulator.proxy", f"--port={port}", f"bank={free_port()}:127.0.0.1:1"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=_PATIENCE_SECONDS,
    )

    assert second.returncode == 2
    assert second.stderr.count("\n") == 1
    assert f"port {port}" in second.stderr
