"""Webhooks as the bank signs and sends them."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from django.http import HttpResponse
from django.test import Client
from django.urls import reverse

SECRET = "a-secret-of-the-bank-and-ours-only-0123456789"
# Asked for here, so that addresses and middleware are read while all apps are there: a test may have only some.
URL = reverse("payment-webhook", args=["simulated"])
Client().handler.load_middleware()


def signed(body: str, *, secret: str = SECRET, at: float | None = None) -> str:
    """Return the header that signs a body, as of this second or another time."""
    seconds = int(time.time() if at is None else at)
    return f"t={seconds},v1={hmac.new(secret.encode(), f'{seconds}.{body}'.encode(), hashlib.sha256).hexdigest()}"


def event(
    kind: str, *, key: str, order: str, amount: int = 1234, currency: str = "EUR", event_id: str | None = None
) -> str:
    """Return the body of an event."""
    data: dict[str, Any] = {"key": key, "order_id": order, "amount": amount, "currency": currency}
    data["at"] = datetime.now(UTC).isoformat()
    return json.dumps({"id": event_id or f"evt_{uuid4().hex}", "type": kind, "data": data})


def send(client: Client, body: str, *, signature: str | None = None, url: str = URL) -> HttpResponse:
    """Send a body, signed well unless a signature is given."""
    header = {"Webhook-Signature": signed(body) if signature is None else signature}
    return client.post(url, data=body, content_type="application/json", headers=header)  # type: ignore[return-value]
