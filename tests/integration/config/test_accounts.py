"""Accounts at the desk: who may give what to whom, and that the log keeps it."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.test import Client
from django.urls import reverse

from sagas.models import OperatorAction
from tests.factories.people import colleague

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("roles_made")]

HERE = "198.51.100.7"


def signed_in(user: User) -> Client:
    client = Client(REMOTE_ADDR=HERE)
    client.force_login(user)
    return client


@pytest.fixture
def olga() -> User:
    """An administrator by role."""
    user = User.objects.create(username="olga", is_staff=True)
    user.groups.add(Group.objects.get(name="administrator"))
    return user


def page_of(user: User, what: str = "change") -> str:
    return reverse(f"admin:auth_user_{what}", args=[user.pk])


def changed(client: Client, user: User, **changes: Any) -> Any:
    """Send the form of an account as it is shown, but for these changes."""
    form = client.get(page_of(user)).context["adminform"].form
    shown = {name: value for name in form.fields if (value := form[name].value()) not in (None, False)}
    dates = {name: "" for name in shown if name in ("last_login", "date_joined")}
    shown["groups"] = [group.pk for group in user.groups.all()]
    return client.post(page_of(user), shown | dates | changes)


def test_an_administrator_gives_a_role_and_the_log_keeps_it(olga: User) -> None:
    ada = User.objects.create(username="ada")
    operators = Group.objects.get(name="operator")

    answer = changed(signed_in(olga), ada, is_staff="on", groups=[operators.pk])

    entry = OperatorAction.objects.get()
    ada.refresh_from_db()
    assert answer.status_code == 302
    assert (ada.is_staff, [group.name for group in ada.groups.all()]) == (True, ["operator"])
    assert (entry.operator, entry.origin, entry.action, entry.seen["about"]) == (
        "olga",
        HERE,
        "change user",
        "user ada",
    )
    assert entry.seen["may_now"] == {
        "is_active": True,
        "is_staff": True,
        "is_superuser": False,
        "roles": ["operator"],
        "permissions": [],
    }


def test_a_new_account_is_in_the_log(olga: User) -> None:
    password = "a long walk to the sea"

    signed_in(olga).post(
        reverse("admin:auth_user_add"),
        {"username": "grace", "password1": password, "password2": password, "usable_password": "true"},
    )

    entry = OperatorAction.objects.get()
    assert (entry.action, entry.seen["about"]) == ("add user", "user grace")
    assert password not in str(entry.seen)
    assert User.objects.get(username="grace").is_staff is False


def test_an_administrator_makes_nobody_more_than_a_role_allows(olga: User) -> None:
    ada = User.objects.create(username="ada", is_staff=True)
    permission = Permission.objects.get(codename="delete_user")

    for user in (ada, olga):
        changed(signed_in(olga), user, is_superuser="on", user_permissions=[permission.pk])
        user.refresh_from_db()

    assert [user.is_superuser for user in (ada, olga)] == [False, False]
    assert [user.user_permissions.count() for user in (ada, olga)] == [0, 0]


def test_an_administrator_cannot_become_a_superuser_by_the_password_of_one(olga: User) -> None:
    ada = colleague("ada")
    before = ada.password
    client = signed_in(olga)
    password = {"password1": "a long walk to the sea", "password2": "a long walk to the sea"}

    statuses = [
        client.get(page_of(ada)).status_code,
        client.post(page_of(ada), {"username": "ada"}).status_code,
        client.get(page_of(ada, "password_change")).status_code,
        client.post(page_of(ada, "password_change"), password).status_code,
        client.post(page_of(ada, "reset_codes"), {"reason": "r"}).status_code,
    ]

    ada.refresh_from_db()
    assert statuses == [200, 403, 403, 403, 403]
    assert ada.password == before
    assert not OperatorAction.objects.exists()


def test_nobody_deletes_an_account_or_a_role() -> None:
    client = signed_in(colleague("olga"))
    ada = User.objects.create(username="ada")
    users = reverse("admin:auth_user_changelist")

    statuses = [
        client.post(page_of(ada, "delete"), {"post": "yes"}).status_code,
        client.post(users, {"action": "delete_selected", "_selected_action": [ada.pk], "post": "yes"}).status_code,
        client.post(
            reverse("admin:auth_group_delete", args=[Group.objects.get(name="viewer").pk]), {"post": "yes"}
        ).status_code,
    ]

    assert statuses[0] == statuses[2] == 403
    assert User.objects.filter(username="ada").exists()
    assert Group.objects.filter(name="viewer").exists()
    assert "delete_selected" not in client.get(users).content.decode()


def test_a_changed_role_is_in_the_log(olga: User) -> None:
    viewer = Group.objects.get(name="viewer")
    kept = Permission.objects.get(codename="view_case")

    signed_in(olga).post(
        reverse("admin:auth_group_change", args=[viewer.pk]), {"name": "viewer", "permissions": [kept.pk]}
    )

    entry = OperatorAction.objects.get()
    assert (entry.action, entry.seen["about"]) == ("change group", "group viewer")
    assert entry.seen["may_now"] == {"permissions": ["view_case"]}
