"""Every call of the outside world leaves a row with the outcome it led to, and nothing of card or person."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import wait
from typing import Any
from uuid import UUID

import httpx
import msgspec
import pytest
import respx
from django.db import IntegrityError, OperationalError, connection, transaction
from django.test.utils import CaptureQueriesContext
from pytest_django import Settings
from uuid_utils.compat import uuid7

from outbox import effects, retention
from outbox.calls import LONGEST
from outbox.consumers import CONSUMERS, Effectful
from outbox.contracts import Envelope
from outbox.effects import EffectPump
from outbox.models import Delivery, GatewayCall, Lane
from outbox.outside import HttpService
from outbox.publishing import Outgoing, publish
from tests.messaging import TWICE, Act, Acted, Bank, Wiring, drain, execute, make_due, say, trail, waiting

pytestmark = pytest.mark.django_db(transaction=True, available_apps=["outbox"])

URL = "http://bank.test/bank"
CARD = "4242 4242 4242 4242"
STREET = "12 Baker Street"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


class Answer(msgspec.Struct):
    id: str = ""


class Shop:
    """A handler that charges over HTTP, and a bank that answers as the test says."""

    def __init__(self, bank: respx.MockRouter) -> None:
        self.service = HttpService(name="bank", base_url=URL, timeout_seconds=2)
        self.charge = bank.post("/charges").respond(201, json={"id": "ch_1"})
        self.look_up = bank.get(url__regex="/charges/.+").respond(404, json={})
        self.body: Any = {"order_id": "o", "amount": 1250, "payment_method": "pm_card_visa", "note": "for you"}

    def call(self, envelope: Envelope[Any]) -> str:
        key = envelope.step_key
        if envelope.is_retry:
            self.service.call(operation="look_up", method="GET", path=f"/charges/{key}", about=key, answer_type=Answer)
        _, answer = self.service.call(
            operation="charge", method="POST", path="/charges", key=key, body=self.body, answer_type=Answer
        )
        return answer.id

    def effectful(self) -> Effectful:
        return Effectful(call=self.call, record=lambda answers: [Acted() for _ in answers], policy=TWICE)


@pytest.fixture
def shop(wiring: Wiring) -> Iterator[Shop]:
    """Have the deed of `Act` done by a bank over HTTP."""
    with respx.mock(base_url=URL, assert_all_called=False) as bank:
        shop = Shop(bank)
        wiring.consumer({Act: shop.effectful()})
        yield shop


def ask(number: int = 1, *, key: UUID | None = None) -> UUID:
    """Give the command; returns its message id."""
    [message_id] = say(Act(number=number), key=key or uuid7(), saga_id=uuid7(), step="act")
    return message_id


def rows() -> list[GatewayCall]:
    return list(GatewayCall.objects.order_by("id"))


def test_a_call_is_recorded_with_all_that_is_known_of_it(shop: Shop) -> None:
    order_id = uuid7()
    message_id = ask(key=order_id)
    before = execute("SELECT clock_timestamp()")[0][0]

    drain(Lane.EFFECTS)

    [call] = rows()
    after = execute("SELECT clock_timestamp()")[0][0]
    assert (call.gateway, call.operation, call.method, call.path) == ("bank", "charge", "POST", "/charges")
    assert (call.ordering_key, call.message_id, call.attempt) == (order_id, message_id, 1)
    assert call.key.startswith(f"{order_id}-")
    assert (call.status, call.outcome, call.error) == (201, "ok", "")
    assert json.loads(call.answer) == {"id": "ch_1"}
    assert before <= call.started_at <= after
    assert 0 <= call.milliseconds < 10_000


def test_neither_card_nor_person_is_kept(shop: Shop) -> None:
    shop.body |= {"address": {"name": "Ada Lovelace", "line1": STREET}, "note": f"card {CARD}"}
    echo = {"detail": f"pm_card_visa of Ada Lovelace, {STREET}, {CARD}", "email": "ada@example.org", "code": "no"}
    shop.charge.respond(402, json=echo)
    ask()

    drain(Lane.EFFECTS)

    [call] = rows()
    assert json.loads(call.request) == {
        "order_id": "o",
        "amount": 1250,
        "payment_method": "•••",
        "note": "card [card number]",
        "address": "•••",
    }
    assert json.loads(call.answer) == {"detail": "••• of •••, •••, [card number]", "email": "•••", "code": "no"}


def test_an_error_page_that_repeats_the_request_is_struck_out_too(shop: Shop) -> None:
    shop.body |= {"address": {"line1": STREET}}
    shop.charge.respond(500, text=f"<h1>Oops</h1> could not ship to {STREET} for pm_card_visa \x00" + "x" * 9_000)
    ask()

    drain(Lane.EFFECTS)

    [call] = rows()
    assert call.answer.startswith("<h1>Oops</h1> could not ship to ••• for ••• ?xxx")
    assert len(call.answer) <= LONGEST
    assert (call.status, call.outcome) == (500, "unavailable")


@pytest.mark.parametrize(
    "content",
    [b"\xff\xfe\x00", b'"\\ud800"', b"[" * 100_000, b'{"a": NaN}', b'{"id": 1e999}', b"", b'"\\u0000"', b"1" * 5_000],
)
def test_no_answer_is_too_strange_to_be_recorded(shop: Shop, content: bytes) -> None:
    shop.charge.mock(return_value=httpx.Response(201, content=content))
    message_id = ask()

    drain(Lane.EFFECTS)

    assert [call.status for call in rows()] == [201]
    assert [error for _, _, error in trail(message_id)] == ["UnforeseenAnswer"]


def test_the_trace_of_the_order_is_kept(shop: Shop) -> None:
    command = Outgoing(
        data=Act(),
        source="test",
        subject=uuid7(),
        correlation_id=uuid7(),
        step="act",
        direction="action",
        traceparent=f"00-{TRACE}-00f067aa0ba902b7-01",
    )
    with transaction.atomic():
        publish([command])

    drain(Lane.EFFECTS)

    assert [call.trace_id for call in rows()] == [TRACE]


def test_a_failed_call_is_recorded_and_so_are_those_of_the_next_try(shop: Shop) -> None:
    shop.charge.mock(side_effect=[httpx.ReadTimeout("slow"), httpx.Response(201, json={"id": "ch_2"})])
    message_id = ask()

    drain(Lane.EFFECTS)
    make_due()
    drain(Lane.EFFECTS)

    told = [(call.operation, call.attempt, call.status, call.outcome, call.error) for call in rows()]
    assert told == [
        ("charge", 1, None, "timeout", "no answer from the bank within 2 s"),
        ("look_up", 2, 404, "not_found", ""),
        ("charge", 2, 201, "ok", ""),
    ]
    assert {call.message_id for call in rows()} == {message_id}
    assert len({call.key for call in rows()}) == 1


def test_the_calls_of_a_batch_are_one_statement(shop: Shop) -> None:
    with transaction.atomic():
        publish(
            [
                Outgoing(
                    data=Act(number=n),
                    source="test",
                    subject=uuid7(),
                    correlation_id=uuid7(),
                    step="act",
                    direction="action",
                )
                for n in range(20)
            ]
        )
    pump = EffectPump()
    pump.claim(consumer=CONSUMERS["tester"], lane=Lane.EFFECTS, types=["test.act"], limit=100)
    wait(pump._in_flight)

    with CaptureQueriesContext(connection) as queries:
        pump.collect(seconds=5)

    pump.close()
    written = [q["sql"] for q in queries if "outbox_gateway_call" in q["sql"]]
    assert len(written) == 1
    assert len(rows()) == 20
    assert waiting() == []


def test_without_a_call_nothing_is_written(wiring: Wiring) -> None:
    wiring.consumer({Act: Bank().effectful()})
    ask()

    with CaptureQueriesContext(connection) as queries:
        drain(Lane.EFFECTS)

    assert waiting() == []
    assert [q for q in queries if "outbox_gateway_call" in q["sql"]] == []


def test_a_call_whose_outcome_another_relay_records_is_kept(shop: Shop) -> None:
    """The fence keeps the outcome out, not the fact that the bank was asked."""
    message_id = ask()
    pump = EffectPump()
    pump.claim(consumer=CONSUMERS["tester"], lane=Lane.EFFECTS, types=["test.act"], limit=100)
    wait(pump._in_flight)
    Delivery.objects.update(token=uuid7())

    pump.collect(seconds=5)

    pump.close()
    assert waiting() == [message_id]
    assert [(call.message_id, call.status) for call in rows()] == [(message_id, 201)]


def test_a_call_whose_record_is_a_bug_is_kept(shop: Shop, wiring: Wiring) -> None:
    wiring.consumer({Act: Effectful(call=shop.call, record=lambda _: 1 / 0, policy=TWICE)})  # type: ignore[arg-type, return-value]
    ids = [ask(1), ask(2)]

    drain(Lane.EFFECTS)

    assert sorted(call.message_id for call in rows() if call.message_id) == sorted(ids)
    assert [error for _, _, error in trail(ids[0])] == ["ZeroDivisionError"]


def test_calls_that_could_not_be_written_go_with_the_next_outcome(
    shop: Shop, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The database is away for longer than a lease: the message is tried again, and both tries are told."""
    message_id = ask()
    pump = EffectPump()
    pump.claim(consumer=CONSUMERS["tester"], lane=Lane.EFFECTS, types=["test.act"], limit=100)
    monkeypatch.setattr(effects, "AGAIN_SECONDS", 1_000)
    with monkeypatch.context() as away:
        away.setattr(effects, "settle", _away)
        pump.collect(seconds=5)
    assert rows() == []

    make_due()
    Delivery.objects.update(token=None)
    pump.claim(consumer=CONSUMERS["tester"], lane=Lane.EFFECTS, types=["test.act"], limit=100)
    pump.close()

    assert [(call.operation, call.attempt) for call in rows()] == [("charge", 1), ("look_up", 2), ("charge", 2)]
    assert {call.message_id for call in rows()} == {message_id}
    assert [call.started_at for call in rows()] == sorted(call.started_at for call in rows())


def test_of_messages_that_are_handled_together_the_key_tells_the_order(shop: Shop, wiring: Wiring) -> None:
    orders = [uuid7(), uuid7()]

    def together(envelopes: Sequence[Envelope[Any]]) -> list[str]:
        for envelope in envelopes:
            key = f"{envelope.subject}-{uuid7()}-act-compensation"
            shop.service.call(operation="charge", method="POST", path="/charges", key=key, answer_type=Answer)
        shop.service.call(operation="charge", method="POST", path="/charges", key="nobody's", answer_type=Answer)
        return ["yes" for _ in envelopes]

    wiring.consumer({Act: Effectful(call_together=together, record=lambda answers: [Acted() for _ in answers])})
    with transaction.atomic():
        publish([Outgoing(data=Act(), source="test", subject=order_id) for order_id in orders])

    drain(Lane.EFFECTS)

    assert sorted(call.ordering_key for call in rows()) == sorted(orders)
    assert {call.message_id for call in rows()} == {None}


def test_a_call_outside_of_any_message_leaves_no_row(shop: Shop) -> None:
    shop.service.call(operation="charge", method="POST", path="/charges", key="k", answer_type=Answer)

    assert rows() == []


@pytest.mark.parametrize("change", ["UPDATE {} SET answer = ''", "DELETE FROM {}", "TRUNCATE {}"])
@pytest.mark.parametrize("table", ["outbox_gateway_call", "outbox_gateway_call_default", "today"])
def test_what_was_recorded_cannot_be_changed(shop: Shop, table: str, change: str) -> None:
    ask()
    drain(Lane.EFFECTS)
    if table == "today":
        table = str(execute("SELECT tableoid::regclass::text FROM outbox_gateway_call")[0][0])

    with transaction.atomic():
        if table.endswith("default"):
            _copy_to("2099-01-01 12:00+00")
        with pytest.raises(IntegrityError, match="is append-only"), transaction.atomic():
            execute(change.format(table))
        transaction.set_rollback(True)

    assert [call.status for call in rows()] == [201]


def test_calls_are_dropped_with_the_days_of_the_log(shop: Shop, settings: Settings) -> None:
    settings.MESSAGE_RETENTION_DAYS = 5
    ask()
    drain(Lane.EFFECTS)
    old, kept = (execute("SELECT (now() AT TIME ZONE 'UTC')::date - %s::int", days)[0][0] for days in (6, 5))
    for day in (old, kept):
        execute("SELECT outbox_create_call_partition(%s)", day)
        _copy_to(f"{day} 12:00+00")
    assert len(rows()) == 3

    dropped = retention.drop_expired()

    assert dropped == [f"outbox_gateway_call_{old:%Y%m%d}"]
    assert sorted(call.started_at.date() for call in rows()) == [kept, execute("SELECT CURRENT_DATE")[0][0]]
    execute(f"DROP TABLE outbox_gateway_call_{kept:%Y%m%d}")


def test_today_and_two_weeks_ahead_have_a_partition_each() -> None:
    retention.create_partitions()

    names = {
        name for (name,) in execute("SELECT relname FROM pg_class WHERE relname ~ '^outbox_gateway_call_[0-9]{8}$'")
    }
    days = [
        execute("SELECT to_char((now() AT TIME ZONE 'UTC')::date + %s::int, 'YYYYMMDD')", n)[0][0] for n in range(15)
    ]
    assert {f"outbox_gateway_call_{day}" for day in days} <= names


def _copy_to(time: str) -> None:
    """Write a call as if it had been made then."""
    columns = "milliseconds, gateway, operation, method, path, key, request, status, answer, outcome, error, attempt"
    execute(
        f"INSERT INTO outbox_gateway_call (started_at, ordering_key, trace_id, {columns})"
        f" SELECT %s::timestamptz, gen_random_uuid(), '', {columns} FROM outbox_gateway_call LIMIT 1",
        time,
    )


def _away(**_: Any) -> None:
    raise OperationalError("the connection is lost")
