"""A program that readies the database for its users: the tables, the operator, the customers.

Usage: OPERATOR_PASSWORD=… CUSTOMERS=… python -m config.local.people
It prints the customers' tokens as a JSON list.
"""

import io
import json
import os
import sys

import django
from django.core.management import call_command

OPERATOR = "admin"


def main() -> None:
    """Migrate, give the operator the password, make the customers that are missing, print their tokens."""
    django.setup()
    call_command("migrate", verbosity=0)
    _make_operator(password=os.environ["OPERATOR_PASSWORD"])
    tokens = [_token(customer=f"customer-{n}") for n in range(1, int(os.environ["CUSTOMERS"]) + 1)]
    json.dump(tokens, sys.stdout)


def _make_operator(*, password: str) -> None:
    # Models can be imported only once Django is set up.
    from django.contrib.auth.models import User

    operator, _ = User.objects.get_or_create(username=OPERATOR)
    operator.is_staff = operator.is_superuser = operator.is_active = True
    operator.set_password(password)
    operator.save()


def _token(*, customer: str) -> str:
    output = io.StringIO()
    call_command("api_token", customer=customer, stdout=output)
    return output.getvalue().strip()


if __name__ == "__main__":
    main()
