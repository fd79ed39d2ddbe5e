"""Whatever happens on the way to an outside service, the caller learns whether the outcome is known."""

import os
from typing import Any, NoReturn

import httpx
import msgspec
import pytest
import respx
from django.db import connections
from prometheus_client import REGISTRY

from outbox.consumers import TransientError
from outbox.outside import HttpService, NothingDone, UnforeseenAnswer
from outbox.transactions import InsideTransaction

URL = "http://bank.test/bank"


class Answer(msgspec.Struct):
    id: str = ""


@pytest.fixture
def service() -> HttpService:
    return HttpService(name="bank", base_url=URL, timeout_seconds=2)


def call(service: HttpService, *, key: str | None = None) -> tuple[int, Answer]:
    return service.call(
        operation="charge", method="POST", path="/charges", answer_type=Answer, key=key, body={"amount": 1}
    )


def requests_counted(outcome: str) -> float:
    labels = {"gateway": "bank", "operation": "charge", "outcome": outcome}
    return REGISTRY.get_sample_value("gateway_requests_total", labels) or 0


@respx.mock
def test_the_request_carries_key_and_body_and_the_answer_comes_back(service: HttpService) -> None:
    route = respx.post(f"{URL}/charges").respond(201, json={"id": "ch_1", "more": "is ignored"})

    answer = call(service, key="k-1")

    assert answer == (201, Answer(id="ch_1"))
    request = route.calls.last.request
    assert (request.headers["Idempotency-Key"], request.content) == ("k-1", b'{"amount":1}')


@pytest.mark.parametrize(
    ("failure", "kind", "outcome"),
    [
        (httpx.ConnectError("refused"), NothingDone, "unavailable"),
        (httpx.ConnectTimeout("slow"), NothingDone, "unavailable"),
        (httpx.Response(503), NothingDone, "unavailable"),
        (httpx.Response(429), NothingDone, "unavailable"),
        (httpx.ReadTimeout("slow"), TransientError, "timeout"),
        (httpx.WriteTimeout("slow"), TransientError, "timeout"),
        (httpx.RemoteProtocolError("closed"), TransientError, "unavailable"),
        (httpx.Response(500), TransientError, "unavailable"),
        (httpx.Response(504), TransientError, "unavailable"),
        (httpx.Response(201, text="<html>"), UnforeseenAnswer, "ok"),
        (httpx.Response(201, json={"id": 7}), UnforeseenAnswer, "ok"),
    ],
)
@respx.mock
def test_failures_say_what_is_known(
    service: HttpService, failure: Exception | httpx.Response, kind: type[Exception], outcome: str
) -> None:
    respx.post(f"{URL}/charges").mock(side_effect=[failure])
    before = requests_counted(outcome)

    with pytest.raises((TransientError, UnforeseenAnswer)) as raised:
        call(service)

    assert type(raised.value) is kind
    assert requests_counted(outcome) == before + 1


@pytest.mark.parametrize(("status", "outcome"), [(402, "refused"), (404, "not_found"), (422, "refused")])
@respx.mock
def test_refusals_are_answers(service: HttpService, status: int, outcome: str) -> None:
    respx.post(f"{URL}/charges").respond(status, json={})
    before = requests_counted(outcome)

    answer = call(service)

    assert answer == (status, Answer())
    assert requests_counted(outcome) == before + 1


@respx.mock
def test_no_call_is_made_while_a_transaction_is_open(service: HttpService, monkeypatch: pytest.MonkeyPatch) -> None:
    route = respx.post(f"{URL}/charges").respond(201, json={})
    monkeypatch.setattr(connections["default"], "in_atomic_block", True)

    with pytest.raises(InsideTransaction):
        call(service)

    assert not route.called


@respx.mock
def test_connections_are_kept_within_a_process_and_not_taken_into_a_fork(
    service: HttpService, monkeypatch: pytest.MonkeyPatch
) -> None:
    respx.post(f"{URL}/charges").respond(201, json={})
    opened: list[object] = []
    real = httpx.Client

    def count(**options: Any) -> httpx.Client:
        opened.append(options)
        return real(**options)

    monkeypatch.setattr(httpx, "Client", count)

    call(service)
    call(service)
    monkeypatch.setattr(os, "getpid", lambda: -1)
    call(service)

    assert len(opened) == 2


def test_nothing_is_opened_before_the_first_call(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_options: object) -> NoReturn:
        raise AssertionError("opened too early")

    monkeypatch.setattr(httpx, "Client", refuse)

    HttpService(name="bank", base_url=URL, timeout_seconds=2)
