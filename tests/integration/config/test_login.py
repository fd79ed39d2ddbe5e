"""The door of the desk: who guesses passwords waits, nobody else does, and no answer tells which names exist."""

from __future__ import annotations

import io
import json
import re
import sys
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from axes.models import AccessAttempt, AccessLog
from django.contrib.auth.models import Permission, User
from django.core.management import call_command
from django.test import Client, RequestFactory
from django.urls import reverse
from django.utils import timezone
from pytest_django import Settings

from config import lockout
from sagas.commands import NotRecognized, acting
from sagas.models import OperatorAction

pytestmark = pytest.mark.django_db

PASSWORD = "a long walk to the sea"
HERE, ELSEWHERE = "198.51.100.7", "203.0.113.9"


@pytest.fixture(autouse=True)
def cheap_passwords(settings: Settings) -> None:
    """Passwords that take no second each."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture
def olga() -> User:
    user = User.objects.create(username="olga", is_staff=True, is_superuser=True)
    user.set_password(PASSWORD)
    user.save()
    return user


def sign_in(name: str, password: str, *, address: str = HERE, **headers: str) -> Any:
    return Client().post(
        reverse("admin:login"), {"username": name, "password": password}, REMOTE_ADDR=address, headers=headers
    )


def fail(name: str, *, times: int = 5, address: str = HERE) -> Any:
    return [sign_in(name, "wrong", address=address) for _ in range(times)][-1]


def text(response: Any) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", response.content.decode())).strip()


def test_five_wrong_passwords_lock_the_name_at_that_address(olga: User) -> None:
    statuses = [sign_in("olga", "wrong").status_code for _ in range(5)]
    right = sign_in("olga", PASSWORD)

    assert statuses == [200, 200, 200, 200, 429]
    assert (right.status_code, right["Retry-After"]) == (429, "900")
    assert "tried with a wrong password 5 times from your address" in text(right)
    assert "Wait 15 minutes and sign in again." in text(right)
    assert "manage.py desk_unlock NAME" in text(right)


@pytest.mark.parametrize(("name", "address"), [("olga", ELSEWHERE), ("ada", HERE)])
def test_nobody_else_is_locked_out(olga: User, name: str, address: str) -> None:
    ada = User.objects.create(username="ada", is_staff=True)
    ada.set_password(PASSWORD)
    ada.save()
    fail("olga")

    assert sign_in(name, PASSWORD, address=address).status_code == 302


def test_it_passes_by_itself_and_trying_meanwhile_does_not_prolong_it(olga: User) -> None:
    start = timezone.now()
    with time_machine.travel(start, tick=False):
        fail("olga")
    with time_machine.travel(start + timedelta(minutes=14), tick=False):
        assert fail("olga").status_code == 429
    with time_machine.travel(start + timedelta(minutes=15, seconds=1), tick=False):
        assert sign_in("olga", PASSWORD).status_code == 302


def test_whoever_gets_in_begins_anew(olga: User) -> None:
    fail("olga", times=4)
    sign_in("olga", PASSWORD)
    fail("olga", times=4)

    assert sign_in("olga", PASSWORD).status_code == 302


@pytest.mark.parametrize(("query", "page"), [("", "/admin/"), ("?next=/admin/sagas/case/", "/admin/sagas/case/")])
def test_whoever_signs_in_comes_to_the_desk(olga: User, query: str, page: str) -> None:
    answer = Client().post(f"{reverse('admin:login')}{query}", {"username": "olga", "password": PASSWORD})

    assert (answer.status_code, answer["Location"]) == (302, page)


def test_the_answers_do_not_tell_whether_a_name_exists(olga: User) -> None:
    answers = [[(each.status_code, text(each)) for each in tries] for tries in (_tries("olga"), _tries("nobody"))]

    assert answers[0] == answers[1]


def _tries(name: str) -> list[Any]:
    return [sign_in(name, "wrong") for _ in range(6)]


@pytest.mark.parametrize(
    ("proxies", "forwarded", "counted"),
    [
        (0, "203.0.113.9", HERE),
        (1, "203.0.113.9", "203.0.113.9"),
        (1, "10.0.0.1, 203.0.113.9", "203.0.113.9"),
        (1, "2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        (1, "::ffff:203.0.113.9", "203.0.113.9"),
        (1, "unknown", None),
    ],
)
def test_the_address_is_the_clients_own(settings: Settings, proxies: int, forwarded: str, counted: str | None) -> None:
    settings.REST_FRAMEWORK = settings.REST_FRAMEWORK | {"NUM_PROXIES": proxies}
    request = RequestFactory().get("/", REMOTE_ADDR=HERE, headers={"X-Forwarded-For": forwarded})

    assert lockout.address_of(request) == counted


def test_an_address_that_is_none_is_no_failure_of_ours(settings: Settings, olga: User) -> None:
    settings.REST_FRAMEWORK = settings.REST_FRAMEWORK | {"NUM_PROXIES": 1}

    answer = sign_in("olga", "wrong", **{"X-Forwarded-For": "unknown"})

    assert answer.status_code == 200
    assert AccessAttempt.objects.get().ip_address is None


def test_operators_come_in_while_redis_is_away(settings: Settings, olga: User) -> None:
    nowhere = "redis://127.0.0.1:9/0"
    settings.REDIS_URL = nowhere
    settings.CACHES = {"default": settings.CACHES["default"] | {"LOCATION": nowhere}}

    statuses = [sign_in("olga", password).status_code for password in ("wrong", PASSWORD)]

    assert statuses == [200, 302]
    assert fail("olga").status_code == 429


def test_what_was_typed_is_not_kept(olga: User) -> None:
    fail("olga", times=2)

    attempt = AccessAttempt.objects.get()

    assert "wrong" not in f"{attempt.post_data} {attempt.get_data}"
    assert attempt.failures_since_start == 2


def test_who_came_and_left_is_kept(olga: User) -> None:
    client = Client()
    client.post(reverse("admin:login"), {"username": "olga", "password": PASSWORD}, REMOTE_ADDR=HERE)
    client.post(reverse("admin:logout"), REMOTE_ADDR=HERE)

    entry = AccessLog.objects.get()

    assert (entry.username, entry.ip_address, entry.logout_time is None) == ("olga", HERE, False)


def test_a_command_unlocks_and_the_log_keeps_it(olga: User, capsys: pytest.CaptureFixture[str]) -> None:
    fail("olga")
    fail("olga", times=2, address=ELSEWHERE)

    call_command("desk_unlock", "olga", reason="called back", json=True)

    entry = OperatorAction.objects.get()
    assert json.loads(capsys.readouterr().out) == {"name": "olga", "failures": 7}
    assert (entry.action, entry.reason, entry.result) == ("unlock sign-in", "called back", "done")
    assert entry.operator.startswith("cli:")
    assert entry.origin != ""
    assert entry.seen == {
        "about": "user olga",
        "failures": [{"address": HERE, "failures": 5}, {"address": ELSEWHERE, "failures": 2}],
    }
    assert sign_in("olga", PASSWORD).status_code == 302


def test_nothing_to_unlock_is_said_and_not_logged(capsys: pytest.CaptureFixture[str]) -> None:
    call_command("desk_unlock", "olga", reason="r")

    assert capsys.readouterr().out == "olga: nothing to unlock\n"
    assert not OperatorAction.objects.exists()


def test_an_administrator_unlocks_at_the_desk(olga: User, client: Client) -> None:
    fail("grace")
    client.force_login(olga)
    page = reverse("admin:composition_failedsignin_changelist")
    shown = text(client.get(page))

    answer = client.post(
        page, {"action": "unlock", "_selected_action": [AccessAttempt.objects.get().pk]}, follow=True, REMOTE_ADDR=HERE
    )

    entry = OperatorAction.objects.get()
    assert "grace locked 5 198.51.100.7" in shown
    assert "grace: 5 failed sign-ins are forgotten." in text(answer)
    assert (entry.operator, entry.origin, entry.action, entry.seen["about"]) == (
        "olga",
        HERE,
        "unlock sign-in",
        "user grace",
    )
    assert not AccessAttempt.objects.exists()


def test_without_permission_nobody_unlocks(client: Client) -> None:
    fail("grace")
    reader = User.objects.create(username="ada", is_staff=True)
    reader.user_permissions.add(Permission.objects.get(codename="view_failedsignin"))
    client.force_login(reader)
    page = reverse("admin:composition_failedsignin_changelist")

    client.post(page, {"action": "unlock", "_selected_action": [AccessAttempt.objects.get().pk]})

    assert 'value="unlock"' not in client.get(page).content.decode()
    assert AccessAttempt.objects.get().failures_since_start == 5
    assert not OperatorAction.objects.exists()


def test_wrong_passwords_of_commands_count_too(olga: User, monkeypatch: pytest.MonkeyPatch) -> None:
    def prove(password: str) -> str:
        monkeypatch.setattr(sys, "stdin", io.StringIO(f"{password}\n"))
        return acting("olga", permission="sagas.retry_case")

    assert prove(PASSWORD) == "olga"
    for _ in range(5):
        with pytest.raises(NotRecognized):
            prove("wrong")

    with pytest.raises(NotRecognized, match="lets nobody in here after too many wrong ones"):
        prove(PASSWORD)
    assert sign_in("olga", PASSWORD).status_code == 302
