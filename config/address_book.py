"""Where notifications finds a customer's e-mail address: the accounts of this installation."""

from collections.abc import Collection

from django.contrib.auth import get_user_model


def emails(customer_ids: Collection[int]) -> dict[int, str]:
    """Return the e-mail address of each customer that has one, by customer id."""
    users = get_user_model().objects.filter(pk__in=customer_ids).exclude(email="")
    return dict(users.values_list("pk", "email"))
