"""What bank and carrier say now, on the pages of actions: live, in words, and without them if they are away."""

from __future__ import annotations

import re
import time
from typing import Any

import pytest
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse

from outbox import breaker
from sagas.models import Case, OperatorAction
from tests.integration.desk.late_charge import go_on, key_of, stuck
from tests.integration.simulator.process import Simulator

pytestmark = pytest.mark.django_db(transaction=True)

# A page that waits for nobody is there long before this, however busy the machine.
SOON_SECONDS = 8.0


@pytest.fixture
def olga() -> Client:
    """An operator who may retry."""
    user = User.objects.create(username="olga", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=["view_case", "retry_case"]))
    client = Client()
    client.force_login(user)
    return client


def page_of(case: Case) -> str:
    return reverse("admin:sagas_case_retry", args=[case.pk])


def text(response: Any) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", response.content.decode()))


def hidden(response: Any, name: str) -> str:
    found = re.search(rf'name="{name}" value="([^"]*)"', response.content.decode())
    assert found is not None
    return found[1]


def test_the_page_shows_what_the_banks_ledger_says_of_order_and_key_now(bank: Simulator, olga: Client) -> None:
    case = stuck()
    assert "Their ledgers show no entry of this order." in text(olga.get(page_of(case)))

    bank.charge(key_of(case), order_id=str(case.key), amount=1250)

    page = text(olga.get(page_of(case)))
    assert f"The bank, asked about {key_of(case)}: 12.50 EUR was charged under this key: ch_" in page
    assert "The bank has taken 12.50 EUR for this order and keeps 12.50 EUR of it." in page
    assert f"bank charge 12.50 EUR {key_of(case)} (asked about)" in page


def test_the_log_keeps_what_was_shown_and_not_what_came_later(bank: Simulator, olga: Client) -> None:
    case = stuck()
    page = olga.get(page_of(case))
    bank.charge(key_of(case), order_id=str(case.key), amount=1250)

    seen = {name: hidden(page, name) for name in ("seen", "looked_up")}
    answer = olga.post(page_of(case), {"reason": "r", **seen})
    go_on()

    assert answer.status_code == 302
    [shown] = OperatorAction.objects.get().seen["outside"]
    assert (shown["answer"], shown["entries"]) == ("no charge is known under this key", [])
    assert bank.kinds("bank", str(case.key)) == ["charge"]


def test_a_bank_that_is_away_is_said_to_be_and_the_page_works_all_the_same(bank: Simulator, olga: Client) -> None:
    case = stuck()
    bank.control("bank", down=True)

    page = olga.get(page_of(case))
    seen = {name: hidden(page, name) for name in ("seen", "looked_up")}
    answer = olga.post(page_of(case), {"reason": "r", **seen})

    assert page.status_code == 200
    assert f"The bank could not be asked about {key_of(case)}" in text(page)
    assert "What it has done is not known now; you can act all the same." in text(page)
    assert answer.status_code == 302
    [shown] = OperatorAction.objects.get().seen["outside"]
    assert shown["is_away"] is True


def test_while_its_breaker_is_open_the_bank_is_not_called(bank: Simulator, olga: Client) -> None:
    case = stuck()
    breaker.hold_open(gateway="bank", operator="grace")

    page = text(olga.get(page_of(case)))

    assert "the bank is away: not called" in page


def test_a_bank_that_does_not_answer_keeps_nobody_waiting(bank: Simulator, olga: Client) -> None:
    case = stuck()
    bank.control("bank", latency_ms=20_000)
    began = time.monotonic()

    page = olga.get(page_of(case))

    bank.control("bank", latency_ms=0)
    assert page.status_code == 200
    assert "no answer from the bank within 0.5 s" in text(page)
    assert time.monotonic() - began < SOON_SECONDS
