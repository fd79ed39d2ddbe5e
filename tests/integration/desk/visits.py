"""How tests of the desk's actions look at pages, fill them in, and see that nothing was changed."""

from __future__ import annotations

import re
from typing import Any

from django.contrib.auth.models import Permission, User
from django.test import Client

from outbox.models import BarrierEntry, Delivery, Message
from sagas.models import Approval, Case, OperatorAction, SagaInstance

SEEN = ("view_case", "view_sagainstance", "view_order", "view_message")


def signed_in(*permissions: str) -> Client:
    """Log olga in, who may look at everything here and has these permissions."""
    user = User.objects.create(username="olga", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=[*SEEN, *permissions]))
    client = Client()
    client.force_login(user)
    return client


def text(response: Any) -> str:
    """Return what a page says."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", response.content.decode()))


def hidden(response: Any, name: str) -> str:
    """Return what a form sends along without showing it."""
    found = re.search(rf'name="{name}" value="([^"]*)"', response.content.decode())
    assert found is not None
    return found[1]


def state() -> list[object]:
    """Return all that an action could have changed: rows and messages."""
    return [
        list(SagaInstance.objects.order_by("pk").values_list("pk", "status", "steps", "updated_at")),
        list(Case.objects.order_by("pk").values_list("pk", "status", "resolution")),
        list(Approval.objects.order_by("pk").values_list("pk", "status")),
        list(Delivery.objects.order_by("pk").values_list("pk", "message_id", "dead_at", "attempts")),
        list(BarrierEntry.objects.order_by("pk").values_list("saga_id", "step", "message_id", "settled")),
        OperatorAction.objects.count(),
        Message.objects.count(),
    ]
