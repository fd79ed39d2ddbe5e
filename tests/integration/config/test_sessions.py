"""Sessions of the desk end: when nobody touches them, when they are old, and when their owner loses the desk."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
import time_machine
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

pytestmark = pytest.mark.django_db

CASES = "/admin/sagas/case/"
POLL = {"HX-Request": "true"}
MINUTE, HOUR = 60, 3_600


@pytest.fixture
def clock() -> Iterator[time_machine.Traveller]:
    with time_machine.travel(time.time(), tick=False) as traveller:
        yield traveller


@pytest.fixture
def olga() -> User:
    return User.objects.create(username="olga", is_staff=True, is_superuser=True)


@pytest.fixture
def desk(clock: time_machine.Traveller, olga: User) -> Client:
    client = Client()
    client.force_login(olga)
    client.get(CASES)
    return client


def is_out(client: Client) -> bool:
    answer = client.get(CASES)
    return answer.status_code == 302 and answer["Location"] == f"/admin/login/?next={CASES}"


def told(client: Client) -> str:
    return " ".join(client.get("/admin/login/").content.decode().split())


def test_a_desk_that_nobody_touches_closes(desk: Client, clock: time_machine.Traveller) -> None:
    clock.shift(30 * MINUTE - 1)
    assert desk.get(CASES).status_code == 200
    clock.shift(30 * MINUTE - 1)
    assert desk.get(CASES).status_code == 200
    clock.shift(30 * MINUTE + 1)

    assert is_out(desk)
    assert "You were signed out: nothing was touched for 30 minutes." in told(desk)
    assert not Session.objects.filter(pk=desk.session.session_key).exists()


def test_a_page_that_refreshes_itself_keeps_no_session(desk: Client, clock: time_machine.Traveller) -> None:
    for _ in range(15):
        clock.shift(2 * MINUTE)
        assert desk.get(CASES, headers=POLL).status_code == 200
        assert desk.get(CASES, headers={"Sec-Fetch-Mode": "cors"}).status_code == 200
    clock.shift(1)

    answer = desk.get(CASES, headers=POLL)

    assert (answer.status_code, answer["HX-Refresh"], answer.content) == (200, "true", b"")
    assert is_out(desk)


def test_a_shift_ends(desk: Client, clock: time_machine.Traveller) -> None:
    for _ in range(40):
        clock.shift(15 * MINUTE)
        assert desk.get(CASES).status_code == 200
    clock.shift(1)

    assert is_out(desk)
    assert "You were signed out: 10 hours have passed." in told(desk)


def test_what_is_sent_by_a_session_that_is_over_is_not_done(
    desk: Client, olga: User, clock: time_machine.Traveller
) -> None:
    clock.shift(31 * MINUTE)

    answer = desk.post(reverse("admin:auth_group_add"), {"name": "friends"})

    assert answer.status_code == 302
    assert answer["Location"].startswith("/admin/login/")
    assert not olga.groups.filter(name="friends").exists()


@pytest.mark.parametrize("lost", ["is_staff", "is_active"])
def test_whoever_loses_the_desk_is_out_at_the_next_page(desk: Client, olga: User, lost: str) -> None:
    User.objects.filter(pk=olga.pk).update(**{lost: False})

    assert is_out(desk)


def test_a_new_password_ends_all_other_sessions(desk: Client, olga: User) -> None:
    other = Client()
    other.force_login(olga)
    assert other.get(CASES).status_code == 200
    olga.set_password("another walk to the sea")
    olga.save()

    assert is_out(desk)
    assert is_out(other)


def test_signing_in_gives_the_session_another_key(olga: User) -> None:
    olga.set_password("a long walk to the sea")
    olga.save()
    client = Client()
    session = client.session
    session["planted"] = True
    session.save()
    planted = session.session_key

    client.post(reverse("admin:login"), {"username": "olga", "password": "a long walk to the sea"})

    assert client.session.session_key != planted
    assert client.get(CASES).status_code == 200


def test_signing_out_takes_a_post_and_ends_the_session(desk: Client) -> None:
    key = desk.session.session_key

    assert desk.get("/admin/logout/").status_code == 405
    desk.post("/admin/logout/")

    assert is_out(desk)
    assert not Session.objects.filter(pk=key).exists()


def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(olga: User) -> None:
    olga.set_password("a long walk to the sea")
    olga.save()

    answer = Client().post(reverse("admin:login"), {"username": "olga", "password": "a long walk to the sea"})

    cookie = answer.cookies["sessionid"]
    assert (cookie["httponly"], cookie["samesite"], cookie["max-age"]) == (True, "Lax", 10 * HOUR)


def test_reading_on_writes_no_session_more_than_once_a_minute(desk: Client, clock: time_machine.Traveller) -> None:
    def writes() -> int:
        with CaptureQueriesContext(connection) as queries:
            desk.get(CASES)
        return sum("django_session" in query["sql"] and "SELECT" not in query["sql"] for query in queries)

    clock.shift(30)
    assert writes() == 0
    clock.shift(31)
    assert writes() == 1


def test_nothing_but_the_desk_looks_at_sessions() -> None:
    client = Client()
    client.cookies["sessionid"] = "0" * 32

    with CaptureQueriesContext(connection) as queries:
        client.get("/api/v1/orders")
        client.get("/healthz")
        client.get("/api/docs")

    assert [query["sql"] for query in queries if "django_session" in query["sql"]] == []
