"""The customers: they send at their own pace, ask again until they know, and keep a log of what they were told."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx

from bench.chaos.wishes import Wish

_ADDRESS = {"name": "Ada", "line1": "1 Way", "city": "Berlin", "postal_code": "10115", "country": "DE"}
# Growing pauses with jitter: who asks again at once, in a crowd, keeps down what tries to get up.
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.25, 4.0
# A person behind a form gives up on one request after so long, and clicks again.
_TIMEOUT_SECONDS = 10.0
_AGAIN = {httpx.codes.TOO_MANY_REQUESTS, *range(500, 600)}
_IN_FLIGHT = "idempotency-key-in-flight"


@dataclass
class Log:
    """What the customers were told: order ids by key, and how often each status code was seen."""

    accepted: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    refused: dict[str, str] = field(default_factory=dict)
    unanswered: set[str] = field(default_factory=set)
    codes: Counter[str] = field(default_factory=Counter)

    @property
    def order_ids(self) -> set[str]:
        """All orders that somebody was told of."""
        return {order_id for ids in self.accepted.values() for order_id in ids}


class Clients:
    """All customers, in a thread of their own: who tends the processes must not wait for them."""

    def __init__(self, *, url: str, tokens: Sequence[str], wishes: Sequence[Wish], patience_seconds: float) -> None:
        self.log = Log()
        self._url = url
        self._tokens = tokens
        self._wishes = wishes
        self._patience_seconds = patience_seconds
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="clients", daemon=True)

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    @property
    def busy(self) -> bool:
        """Whether somebody still waits for an answer. Raises what broke the clients themselves."""
        if self._failure is not None:
            raise self._failure
        return self._thread.is_alive()

    def _run(self) -> None:
        try:
            asyncio.run(self._send_all())
        except BaseException as error:  # noqa: BLE001 - told by `busy`, in the thread that can end the run
            self._failure = error

    async def _send_all(self) -> None:
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=20)
        async with httpx.AsyncClient(base_url=self._url, timeout=_TIMEOUT_SECONDS, limits=limits) as http:
            began = time.monotonic()
            self._give_up_at = began + (self._wishes[-1].at if self._wishes else 0) + self._patience_seconds
            async with asyncio.TaskGroup() as group:
                for wish in self._wishes:
                    await asyncio.sleep(max(0.0, began + wish.at - time.monotonic()))
                    group.create_task(self._serve(http, wish))

    async def _serve(self, http: httpx.AsyncClient, wish: Wish) -> None:
        body = {
            "items": [{"sku": sku, "quantity": quantity} for sku, quantity in wish.items.items()],
            "payment_method": "pm_card_visa",
            "shipping_address": _ADDRESS,
        }
        answers = await asyncio.gather(
            *(self._ask(http, wish, "/api/v1/orders", wish.key, body) for _ in range(wish.clicks))
        )
        for answer in answers:
            if answer is None:
                self.log.unanswered.add(wish.key)
            elif answer.is_success:
                self.log.accepted[wish.key].add(answer.json()["id"])
            else:
                self.log.refused[wish.key] = f"{answer.status_code} {answer.text[:200]}"
        if wish.later and self.log.accepted[wish.key]:
            await asyncio.sleep(wish.later_after)
            (order_id, *_) = self.log.accepted[wish.key]
            await self._ask(http, wish, f"/api/v1/orders/{order_id}/{wish.later}", f"{wish.key}-{wish.later}", {})

    async def _ask(
        self, http: httpx.AsyncClient, wish: Wish, path: str, key: str, body: dict[str, Any]
    ) -> httpx.Response | None:
        """Send with the same key until something certain is answered; return None if nobody ever does."""
        headers = {"Authorization": f"Token {self._tokens[wish.customer]}", "Idempotency-Key": key}
        pause = _FIRST_PAUSE_SECONDS
        while time.monotonic() < self._give_up_at:
            try:
                answer = await http.post(path, json=body, headers=headers)
            except httpx.TransportError as error:
                self.log.codes[type(error).__name__] += 1
            else:
                self.log.codes[str(answer.status_code)] += 1
                if answer.status_code not in _AGAIN and _IN_FLIGHT not in answer.text:
                    return answer
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
        return None
