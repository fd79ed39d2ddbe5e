"""The bank's webhooks: what it enters into its ledger it tells its customer's customer too, signed, until it is taken.

An event is queued in the transaction of the entry that it tells of, and leaves the queue when its receiver has
answered 2xx; so none is lost when the process is killed, and one that was taken just before is sent again.
"""

import asyncio
import hashlib
import hmac
import time
from collections.abc import Callable
from typing import Any, Protocol
from uuid import uuid4

import httpx

from simulator.ledger import Ledger
from simulator.wire import render

SIGNATURE_HEADER = "Webhook-Signature"
AT_ONCE = 8
"""Webhooks sent side by side: enough to keep up with the charges, few enough not to flood the receiver."""
TIMEOUT_SECONDS = 5.0
FIRST_PAUSE_SECONDS = 0.25
LONGEST_PAUSE_SECONDS = 5.0
LOOK_SECONDS = 0.05
"""How often the queue is looked at: soon enough that nobody waits for it."""


class WebhookControl(Protocol):
    """The fault settings that concern webhooks."""

    @property
    def webhook_copies(self) -> int:
        """How often each is sent."""

    @property
    def webhook_delay_ms(self) -> float:
        """How long each rests before it is sent."""

    @property
    def webhook_hold(self) -> bool:
        """Whether none is sent for now."""

    @property
    def webhook_newest_first(self) -> bool:
        """Whether they are sent one by one, the newest first."""


class Webhooks:
    """The queue of events and its sender."""

    def __init__(self, *, ledger: Ledger, url: str, secret: str) -> None:
        self._ledger = ledger
        self._url = url
        self._secret = secret.encode()

    def tell(self, *, event_type: str, fact: dict[str, Any]) -> None:
        """Queue an event with the transaction of its fact."""
        event_id = f"evt_{uuid4().hex}"
        body = render({"id": event_id, "type": event_type, "data": fact})
        self._ledger.add_webhook(event_id=event_id, body=body, now=time.time())

    async def send(self, *, control: Callable[[], WebhookControl]) -> None:
        """Send what is due, for ever."""
        async with httpx.AsyncClient(timeout=TIMEOUT_SECONDS) as client:
            while True:
                faults = control()
                due = self._due(faults)
                await asyncio.gather(*(self._send_one(client, *webhook, faults.webhook_copies) for webhook in due))
                if not due:
                    await asyncio.sleep(LOOK_SECONDS)

    def _due(self, faults: WebhookControl) -> list[tuple[int, str, int]]:
        if faults.webhook_hold:
            return []
        return self._ledger.list_webhooks(
            now=time.time() - faults.webhook_delay_ms / 1000,
            limit=1 if faults.webhook_newest_first else AT_ONCE,
            newest_first=faults.webhook_newest_first,
        )

    async def _send_one(self, client: httpx.AsyncClient, number: int, body: str, attempts: int, copies: int) -> None:
        taken = [await self._post(client, body) for _ in range(copies)]
        if all(taken):
            self._ledger.settle_webhook(number=number, now=time.time())
            return
        pause = min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2 ** min(attempts, 10))
        self._ledger.put_off_webhook(number=number, due_at=time.time() + pause)

    async def _post(self, client: httpx.AsyncClient, body: str) -> bool:
        try:
            answer = await client.post(self._url, content=body, headers=self._headers(body))
        except httpx.HTTPError:
            return False
        return answer.is_success

    def _headers(self, body: str) -> dict[str, str]:
        seconds = str(int(time.time()))
        signature = hmac.new(self._secret, f"{seconds}.{body}".encode(), hashlib.sha256).hexdigest()
        return {"Content-Type": "application/json", SIGNATURE_HEADER: f"t={seconds},v1={signature}"}
