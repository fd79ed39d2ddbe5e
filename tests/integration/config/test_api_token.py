"""`api_token` prints a customer's token alone, and makes the customer if there is none of that name."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from rest_framework.authtoken.models import Token

from tests.command_line import run

pytestmark = pytest.mark.django_db


def test_a_new_customer_gets_a_token_and_no_password() -> None:
    ended = run("api_token", "--customer", "ada")

    user = User.objects.get()
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == f"{Token.objects.get(user=user).key}\n"
    assert (user.username, user.email) == ("ada", "ada@example.invalid")
    assert not user.has_usable_password()
    assert not user.is_staff


def test_the_same_customer_keeps_his_token() -> None:
    first = run("api_token", "--customer", "ada")

    again = run("api_token", "--customer", "ada", "--json")

    assert again.json == {"customer": "ada", "token": first.out.strip()}
    assert User.objects.count() == Token.objects.count() == 1


def test_an_address_as_name_is_where_letters_go() -> None:
    run("api_token", "--customer", "ada@example.com")

    assert User.objects.get().email == "ada@example.com"


@pytest.mark.parametrize("name", ["", "a b", "a/b", "x" * 151])
def test_a_name_that_cannot_be_is_bad_input(name: str) -> None:
    ended = run("api_token", "--customer", name)

    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith(f"api_token: customer {name!r}: ")
    assert ended.err.count("\n") == 1
    assert not User.objects.exists()


def test_a_locked_customer_gets_none() -> None:
    User.objects.create(username="eve", is_active=False)

    ended = run("api_token", "--customer", "eve")

    assert (ended.code, ended.out, ended.err) == (2, "", "api_token: customer 'eve' is locked\n")
    assert not Token.objects.exists()


def test_a_customer_must_be_named() -> None:
    ended = run("api_token")

    assert (ended.code, ended.err) == (2, "api_token: the following arguments are required: --customer\n")
