"""The simulator as a process: its controls, bad input, random bytes, SIGKILL, a port that is taken."""

import itertools
import random
import signal
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.integration.simulator.process import GIVE_UP_SECONDS, Simulator, start


@pytest.mark.parametrize("service", ["bank", "carrier"])
def test_down_is_503_but_ledger_and_control_stay_up(simulator: Simulator, key: str, service: str) -> None:
    simulator.control(service, down=True)

    calls = {"bank": (simulator.charge, "charges"), "carrier": (simulator.ship, "shipments")}
    call, noun = calls[service]
    answers = [call(key), simulator.http.get(f"/{service}/{noun}/{key}")]

    assert [(a.status_code, a.headers["Retry-After"]) for a in answers] == [(503, "1"), (503, "1")]
    assert simulator.kinds(service, key) == []
    assert simulator.http.get(f"/{service}/control").json()["down"] is True
    assert simulator.control(service, down=False).status_code == 200
    assert call(key).status_code == 201


@pytest.mark.parametrize(
    "changes",
    [
        {"decline_ratio": 1.1},
        {"decline_ratio": True},
        {"latency_ms": -1},
        {"down": 1},
        {"seed": 0.5},
        {"seed": "x"},
        {"sped": 1},
        {"seed": 3, "timeout_ratio": None},
    ],
)
def test_wrong_control_is_refused_whole(simulator: Simulator, changes: dict[str, Any]) -> None:
    before = simulator.http.get("/bank/control").json()

    answer = simulator.control("bank", **changes)

    assert answer.status_code == 400
    assert list(changes)[-1] in answer.json()["detail"]
    assert simulator.http.get("/bank/control").json() == before


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe\x00",
        b'{"amount": 1e999}',
        b"[" * 60_000,
        b'{"order_id": "\\ud800"}',
    ],
)
@pytest.mark.parametrize("path", ["/bank/charges", "/bank/refunds", "/carrier/shipments"])
def test_bad_body_is_400(simulator: Simulator, path: str, body: bytes) -> None:
    answer = simulator.http.post(path, content=body, headers={"Idempotency-Key": "k"})

    assert answer.status_code == 400
    assert set(answer.json()) == {"code", "detail"}


def test_other_refusals_are_json_too(simulator: Simulator) -> None:
    answers = {
        404: simulator.http.get("/bank/nothing"),
        405: simulator.http.delete("/bank/charges"),
        413: simulator.http.post("/bank/charges", content=b" " * 70_000, headers={"Idempotency-Key": "k"}),
        400: simulator.http.post("/bank/charges", json={}, headers={"Idempotency-Key": '"k"'}),
    }

    assert {status: answer.status_code for status, answer in answers.items()} == {s: s for s in answers}
    assert all(set(answer.json()) == {"code", "detail"} for answer in answers.values())


def test_random_bytes_never_crash_it(simulator: Simulator) -> None:
    chance = random.Random(1)
    address = ("127.0.0.1", httpx.URL(simulator.url).port)
    starts = [
        b"",
        b"POST /bank/charges HTTP/1.1\r\nIdempotency-Key: k\r\nContent-Length: 90\r\n\r\n",
        b"GET /bank/",
    ]
    for n in range(150):
        with socket.create_connection(address, timeout=5) as connection:
            connection.sendall(starts[n % 3] + chance.randbytes(120))

    assert simulator.http.get("/healthz").json() == {"status": "ok"}


def test_everything_answered_survives_a_kill(mortal: Simulator) -> None:
    with pytest.raises(httpx.ReadTimeout):
        mortal.charge("silent", method="pm_sim_timeout_not_charged", timeout=GIVE_UP_SECONDS)
    with pytest.raises(httpx.ReadTimeout):
        mortal.charge("late", method="pm_sim_timeout_charged", timeout=GIVE_UP_SECONDS)
    mortal.control("bank", decline_ratio=0.2, seed=5)
    answered: dict[str, httpx.Response] = {}
    enough = threading.Event()

    def charge_until_killed(thread: int) -> None:
        for n in itertools.count():
            key = f"{thread}-{n}"
            answered[key] = mortal.charge(key)
            if len(answered) > 1400:  # so many that the ledger is read in more than one page
                enough.set()

    with ThreadPoolExecutor(4) as pool:
        charging = [pool.submit(charge_until_killed, thread) for thread in range(4)]
        busy = enough.wait(30)
        mortal.process.kill()
    mortal.stop(signal.SIGKILL)
    mortal.start()

    assert busy
    assert all(isinstance(future.exception(), httpx.TransportError) for future in charging)
    entries = [entry["key"] for entry in mortal.http.get("/bank/ledger").json()]
    charged = {key for key, answer in answered.items() if answer.status_code == 201}
    declined = answered.keys() - charged
    assert len(entries) == len(set(entries))
    assert charged | {"late"} <= set(entries)
    assert set(entries).isdisjoint(declined | {"silent"})
    assert len(set(entries) - charged - {"late"}) <= 4, "each caller had one call under way"
    assert mortal.charge("late", method="pm_sim_timeout_charged", timeout=1).status_code == 201
    assert mortal.charge("silent", method="pm_sim_timeout_not_charged", timeout=1).status_code == 201
    some = list(answered)[::20]
    assert [mortal.charge(key).content for key in some] == [answered[key].content for key in some]
    assert mortal.http.get("/bank/control").json()["decline_ratio"] == 0.2


def test_a_stop_ends_held_calls_without_a_word(mortal: Simulator) -> None:
    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(mortal.charge, "held", method="pm_sim_timeout_charged")
        while mortal.kinds("bank", "held") == []:
            pass
        mortal.process.terminate()

    assert mortal.stop(signal.SIGTERM) == ""
    assert held.result().status_code == 500


def test_a_port_in_use_is_one_clear_line(simulator: Simulator, tmp_path: Path) -> None:
    port = httpx.URL(simulator.url).port
    assert port is not None

    second = start(tmp_path / "other.sqlite3", port=port)
    printed, _ = second.communicate(timeout=10)

    assert second.returncode == 2
    assert printed.count("\n") == 1
    assert f"port {port}" in printed
