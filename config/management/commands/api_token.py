"""Gives a customer an API token, and makes the customer if there is none of that name."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.contrib.auth.hashers import make_password
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import transaction
from rest_framework.authtoken.models import Token

from outbox.commands import OperatorCommand


class UnusableName(ValueError):
    """A customer cannot have this name, or may not come in; the text says why."""


class Command(OperatorCommand):
    """`api_token --customer NAME`: prints the token alone; the same one for the same customer."""

    help = "Print a customer's API token; create the customer if new."
    refusals = (UnusableName,)

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Declare the options."""
        super().add_arguments(parser)
        parser.add_argument("--customer", required=True, metavar="NAME", help="the customer's user name")

    def handle(self, *_args: Any, customer: str, **_options: Any) -> None:
        """Print the token."""
        token = _token(customer)
        self.show({"customer": customer, "token": token}, token)


def _token(name: str) -> str:
    with transaction.atomic():
        user = User.objects.filter(username=name).first() or _new_customer(name)
        if not user.is_active:
            raise UnusableName(f"customer {name!r} is locked")
        token, _ = Token.objects.get_or_create(user=user)
        return str(token.key)


def _new_customer(name: str) -> User:
    # A reserved domain (RFC 2606): letters can be seen on the way out, and reach nobody.
    email = name if "@" in name else f"{name}@example.invalid"
    password = make_password(None)
    try:
        User(username=name, email=email, password=password).full_clean(validate_unique=False)
    except ValidationError as error:
        raise UnusableName(f"customer {name!r}: {' '.join(error.messages)}") from error
    user, _ = User.objects.get_or_create(username=name, defaults={"email": email, "password": password})
    return user
