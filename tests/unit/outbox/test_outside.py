"""Whatever happens on the way to an outside service, the caller learns whether the outcome is known."""

import os
import time
from contextlib import suppress
from typing import Any, NoReturn

import httpx
import msgspec
import pytest
import respx
from django.db import connections
from prometheus_client import REGISTRY
from pytest_django import Settings

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


@respx.mock
def test_three_failures_in_a_row_are_an_outage_and_nobody_calls_any_more(service: HttpService) -> None:
    route = respx.post(f"{URL}/charges").mock(side_effect=httpx.ReadTimeout("slow"))
    before = requests_counted("refused_by_breaker")

    errors = [refusal(service) for _ in range(5)]

    assert [error.is_outage for error in errors] == [False, False, True, True, True]
    assert [type(error) for error in errors] == [TransientError] * 3 + [NothingDone] * 2
    assert all(error.retry_after > 0 for error in errors if error.is_outage)
    assert route.call_count == 3
    assert requests_counted("refused_by_breaker") == before + 2


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(402, json={}),
        httpx.Response(404, json={}),
        httpx.Response(422, json={}),
        httpx.Response(201, json={}),
        httpx.Response(201, text="<html>"),
    ],
)
@respx.mock
def test_whatever_is_answered_shows_that_the_line_works(service: HttpService, answer: httpx.Response) -> None:
    failure = httpx.ConnectError("refused")
    route = respx.post(f"{URL}/charges").mock(side_effect=[failure, failure, answer, failure, failure, failure])

    first = [refusal(service).is_outage for _ in range(2)]
    with suppress(UnforeseenAnswer):
        call(service)
    then = [refusal(service).is_outage for _ in range(3)]

    assert (first, then, route.call_count) == ([False, False], [False, False, True], 6)


@respx.mock
def test_one_call_finds_out_that_the_service_is_back(service: HttpService, settings: Settings) -> None:
    settings.BREAKER_PROBE_SECONDS = 0.2
    away = httpx.Response(503)
    route = respx.post(f"{URL}/charges").mock(side_effect=[away] * 4 + [httpx.Response(201, json={})] * 2)
    for _ in range(3):
        refusal(service)
    time.sleep(0.25)

    assert refusal(service).is_outage
    assert refusal(service).is_outage
    time.sleep(0.25)

    assert [call(service)[0], call(service)[0]] == [201, 201]
    assert route.call_count == 6


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"Retry-After": "7"}, 7),
        ({"Retry-After": " 7 "}, 7),
        ({"Retry-After": "0"}, 0),
        ({"Retry-After": "86400"}, 300),
        ({"Retry-After": "9" * 400}, 300),
        (
            {"Retry-After": "Tue, 24 Nov 2026 12:00:30 GMT", "Date": "Tue, 24 Nov 2026 12:00:00 GMT"},
            30,
        ),
        ({"Retry-After": "Tue, 24 Nov 2026 12:00:30 GMT", "Date": "Tue, 24 Nov 2026 12:01:00 GMT"}, 0),
        ({"Retry-After": "Wed, 01 Jan 2110 00:00:00 GMT"}, 300),
        ({"Retry-After": "Thu, 01 Jan 1970 00:00:00 GMT", "Date": "whenever"}, 0),
        ({"Retry-After": "-5"}, 0),
        ({"Retry-After": "soon"}, 0),
        ({"Retry-After": "²"}, 0),
        ({"Retry-After": ""}, 0),
        ({}, 0),
    ],
)
@pytest.mark.parametrize("status", [429, 503])
@respx.mock
def test_a_service_may_say_when_to_come_again(
    service: HttpService, headers: dict[str, str], expected: float, status: int
) -> None:
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    respx.post(f"{URL}/charges").mock(side_effect=[httpx.Response(status, headers=raw)])

    assert refusal(service).retry_after == expected


@respx.mock
def test_an_outage_lasts_at_least_as_long_as_the_service_has_said(service: HttpService) -> None:
    respx.post(f"{URL}/charges").respond(503, headers={"Retry-After": "120"})

    errors = [refusal(service) for _ in range(4)]

    assert all(error.retry_after >= 119 for error in errors[2:])


def refusal(service: HttpService) -> TransientError:
    with pytest.raises(TransientError) as raised:
        call(service)
    return raised.value


@respx.mock
def test_a_report_is_read_during_an_outage_and_says_nothing_about_it(service: HttpService) -> None:
    respx.post(f"{URL}/charges").mock(side_effect=httpx.ConnectError("refused"))
    report = respx.get(f"{URL}/ledger").mock(side_effect=[httpx.Response(200, json={}), httpx.ConnectError("refused")])
    for _ in range(3):
        refusal(service)

    answer = service.call(operation="x", method="GET", path="/ledger", answer_type=Answer, minds_breaker=False)
    with pytest.raises(NothingDone) as raised:
        service.call(operation="x", method="GET", path="/ledger", answer_type=Answer, minds_breaker=False)

    assert (answer[0], raised.value.is_outage, report.call_count) == (200, False, 2)
    assert refusal(service).is_outage
