"""One-time codes: whoever has them gives one, whoever must have them sets them up, and nothing opens before that."""

from __future__ import annotations

import base64
import json
import re
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import time_machine
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse
from django_otp.oath import totp
from django_otp.plugins.otp_static.models import StaticDevice
from django_otp.plugins.otp_totp.models import TOTPDevice
from pytest_django import Settings

from sagas.models import OperatorAction
from tests.integration.config.doors import pages_of_the_desk

pytestmark = pytest.mark.django_db

ASK, SET_UP = "/admin/second-factor/", "/admin/second-factor/setup/"
CASES = "/admin/sagas/case/"
WAYS_IN_AND_OUT = {"admin:login", "admin:logout", "second-factor", "second-factor-setup"}
CLOSED = {page.name for page in pages_of_the_desk()} - WAYS_IN_AND_OUT


@pytest.fixture(autouse=True)
def standing_clock() -> Iterator[time_machine.Traveller]:
    """A clock that the test moves: each code counts once, and half a minute later there is another."""
    with time_machine.travel(time.time(), tick=False) as clock:
        yield clock


@pytest.fixture
def olga() -> User:
    return User.objects.create(username="olga", is_staff=True, is_superuser=True)


@pytest.fixture
def client(olga: User) -> Client:
    """Give the password, and no code."""
    return signed_in(olga)


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
    return client


def phone(user: User) -> TOTPDevice:
    return TOTPDevice.objects.create(user=user, name="phone")


def code_of(device: TOTPDevice) -> str:
    return f"{totp(device.bin_key):06d}"


def set_up(client: Client, user: User) -> list[str]:
    """Set codes up as a person does; return the recovery codes."""
    client.get(SET_UP)
    device = TOTPDevice.objects.get(user=user, confirmed=False)
    answer = client.post(SET_UP, {"code": code_of(device)})
    return re.findall(r"<code>([a-z2-7]{8})</code>", answer.content.decode())


def leading_to(page: str, client: Client) -> set[str]:
    """Return the pages of the desk that lead to this one, whether they are read or written to."""
    closed = [each for each in pages_of_the_desk() if each.name in CLOSED]
    answers = {each.name: (client.get(each.path), client.post(each.path)) for each in closed}
    return {name for name, both in answers.items() if all(_leads_to(page, answer) for answer in both)}


def _leads_to(page: str, answer: Any) -> bool:
    return bool(answer.get("Location", "").startswith(f"{page}?next="))


def text(response: Any) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", response.content.decode())).strip()


@pytest.mark.parametrize("setting", ["off", "optional"])
def test_who_has_no_codes_passes_where_none_are_required(settings: Settings, client: Client, setting: str) -> None:
    settings.DESK_OTP = setting

    assert client.get(CASES).status_code == 200


def test_no_page_opens_on_a_password_alone_where_codes_are_required(settings: Settings, client: Client) -> None:
    settings.DESK_OTP = "required"

    assert leading_to(SET_UP, client) == CLOSED


def test_no_page_opens_without_the_code_of_who_has_one(client: Client, olga: User) -> None:
    phone(olga)

    assert leading_to(ASK, client) == CLOSED


def test_whoever_sets_codes_up_is_in_and_has_recovery_codes(settings: Settings, client: Client, olga: User) -> None:
    settings.DESK_OTP = "required"
    page = client.get(SET_UP, {"next": CASES})
    device = TOTPDevice.objects.get()
    secret = base64.b32encode(device.bin_key).decode()

    assert secret in text(page).replace(" ", "")
    assert re.search(r'src="data:image/svg\+xml;base64,[A-Za-z0-9+/=]+"', page.content.decode())
    assert device.config_url.startswith("otpauth://totp/saga-bridge%3Aolga?")

    codes = set_up(client, olga)

    assert len(set(codes)) == 10
    assert client.get(CASES).status_code == 200


def test_the_secret_stays_the_same_until_it_is_confirmed(client: Client) -> None:
    pages = [client.get(SET_UP) for _ in range(2)]

    assert re.findall(r"base64,([^\"]+)", pages[0].content.decode()) == re.findall(
        r"base64,([^\"]+)", pages[1].content.decode()
    )
    assert TOTPDevice.objects.get().confirmed is False


def test_a_wrong_code_takes_nothing_into_use(client: Client) -> None:
    client.get(SET_UP)

    answer = client.post(SET_UP, {"code": "000000"})

    assert "This is not the code of now." in text(answer)
    assert TOTPDevice.objects.get().confirmed is False
    assert not StaticDevice.objects.exists()


def test_the_code_of_the_phone_opens_the_page_that_was_wanted(client: Client, olga: User) -> None:
    device = phone(olga)
    key = client.session.session_key
    sent = client.get(CASES)
    code = code_of(device)

    answer = client.post(sent["Location"], {"code": f"{code[:3]} {code[3:]}"})

    assert parse_qs(urlsplit(sent["Location"]).query) == {"next": [CASES]}
    assert (answer.status_code, answer["Location"]) == (302, CASES)
    assert client.get(CASES).status_code == 200
    assert client.session.session_key != key


def test_a_code_counts_once(client: Client, olga: User) -> None:
    device = phone(olga)
    code = code_of(device)
    client.post(ASK, {"code": code})

    answer = signed_in(olga).post(ASK, {"code": code})

    assert "This is not the code of now." in text(answer)


def test_a_recovery_code_counts_once_in_place_of_the_phone(client: Client, olga: User) -> None:
    first, *others = set_up(client, olga)

    answers = [signed_in(olga).post(ASK, {"code": code}).status_code for code in (first, first)]

    assert answers == [302, 200]
    assert len(others) == 9


def test_guessing_takes_longer_each_time(client: Client, olga: User, standing_clock: time_machine.Traveller) -> None:
    device = phone(olga)
    for seconds in (2, 3, 5):
        client.post(ASK, {"code": "000000"})
        standing_clock.shift(seconds)
    client.post(ASK, {"code": "000000"})
    code = code_of(device)

    early = client.post(ASK, {"code": code})
    standing_clock.shift(9)
    late = client.post(ASK, {"code": code_of(device)})

    assert re.search(r"Too many wrong codes: wait \d+ seconds and try again.", text(early))
    assert late.status_code == 302


def test_the_phone_of_somebody_else_is_of_no_use(client: Client, olga: User) -> None:
    phone(olga)
    ada = phone(User.objects.create(username="ada"))

    assert client.post(ASK, {"code": code_of(ada)}).status_code == 200
    assert client.get(CASES).status_code == 302


@pytest.mark.parametrize("next_page", ["https://evil.example/", "//evil.example", "javascript:alert(1)"])
def test_nobody_is_led_away(client: Client, olga: User, next_page: str) -> None:
    device = phone(olga)

    answer = client.post(f"{ASK}?next={next_page}", {"code": code_of(device), "next": next_page})

    assert answer["Location"] == "/admin/"


def test_codes_set_up_in_one_session_are_asked_for_in_all_others(client: Client, olga: User) -> None:
    other = signed_in(olga)
    assert other.get(CASES).status_code == 200

    set_up(client, olga)

    assert other.get(CASES)["Location"].startswith(ASK)
    assert client.get(CASES).status_code == 200


def test_codes_cannot_be_replaced_on_a_password_alone(client: Client, olga: User) -> None:
    device = phone(olga)

    assert client.get(SET_UP).status_code == 302
    assert client.post(SET_UP, {"code": code_of(device)}).status_code == 302
    assert TOTPDevice.objects.get() == device


def test_new_codes_make_the_old_ones_useless(
    client: Client, olga: User, standing_clock: time_machine.Traveller
) -> None:
    old, *_ = set_up(client, olga)
    standing_clock.shift(60)
    assert "10 recovery codes left" in text(client.get(SET_UP))

    new = set_up(client, olga)

    assert TOTPDevice.objects.count() == 1
    assert signed_in(olga).post(ASK, {"code": old}).status_code == 200
    standing_clock.shift(60)
    assert signed_in(olga).post(ASK, {"code": new[0]}).status_code == 302


def test_an_administrator_resets_codes_and_the_log_keeps_it(client: Client, olga: User) -> None:
    ada = User.objects.create(username="ada", is_staff=True)
    session = signed_in(ada)
    set_up(session, ada)
    page = reverse("admin:auth_user_reset_codes", args=[ada.pk])
    assert "Reset one-time codes" in text(client.get(reverse("admin:auth_user_change", args=[ada.pk])))
    assert "Make sure that it is ada who asks" in text(client.get(page))

    unsaid = client.post(page, {"reason": ""})
    assert TOTPDevice.objects.exists()
    answer = client.post(page, {"reason": "lost the phone"}, REMOTE_ADDR="198.51.100.7", follow=True)

    entry = OperatorAction.objects.get()
    assert unsaid.status_code == 200
    assert "ada: one-time codes are reset." in text(answer)
    assert (entry.operator, entry.origin, entry.action, entry.seen["about"], entry.reason) == (
        "olga",
        "198.51.100.7",
        "reset one-time codes",
        "user ada",
        "lost the phone",
    )
    assert not TOTPDevice.objects.exists()
    assert not StaticDevice.objects.exists()
    assert "Reset one-time codes" not in text(client.get(reverse("admin:auth_user_change", args=[ada.pk])))


def test_a_session_does_not_outlive_the_phone_that_opened_it(settings: Settings, client: Client, olga: User) -> None:
    settings.DESK_OTP = "required"
    set_up(client, olga)
    TOTPDevice.objects.all().delete()

    assert client.get(CASES)["Location"].startswith(SET_UP)


def test_a_command_resets_codes_too(client: Client, olga: User, capsys: pytest.CaptureFixture[str]) -> None:
    set_up(client, olga)

    call_command("desk_reset_codes", "olga", reason="lost the phone", json=True)
    call_command("desk_reset_codes", "olga", reason="lost the phone", json=True)

    outputs = re.findall(r"\{[^}]*\}", capsys.readouterr().out)
    assert [json.loads(output) for output in outputs] == [
        {"name": "olga", "reset": True},
        {"name": "olga", "reset": False},
    ]
    assert OperatorAction.objects.get().operator.startswith("cli:")
    with pytest.raises(CommandError, match="the desk knows nobody called 'ada'"):
        call_command("desk_reset_codes", "ada", reason="r")


@pytest.mark.parametrize("name", ["totpdevice", "staticdevice"])
def test_secrets_have_no_page(client: Client, name: str) -> None:
    assert client.get(f"/admin/otp_{name.removesuffix('device')}/{name}/").status_code == 404
