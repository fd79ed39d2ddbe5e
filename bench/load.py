"""Open loop: orders arrive at a constant rate over HTTP, whether or not earlier ones are done."""

from __future__ import annotations

import asyncio
import statistics
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

import httpx
from django.db import connection

# Fresh workers open their connections and prepare their statements.
WARM_UP_SECONDS = 5
BODY_ADDRESS = {"name": "Ada", "line1": "1 Way", "city": "Berlin", "postal_code": "10115", "country": "DE"}


@dataclass(frozen=True, kw_only=True)
class Latency:
    """Milliseconds: from request to 202, and from the commit of the order to the commit of its confirmation."""

    accept_p50_ms: float
    accept_p99_ms: float
    confirm_p50_ms: float
    confirm_p99_ms: float
    sent: int


def run(*, url: str, token: str, rate: float, seconds: float) -> Latency:
    """Send `rate` orders a second for so many seconds, after a warm-up. Raises on any answer but 202."""
    accepted = asyncio.run(_send_all(url, token, rate, seconds))
    measured = accepted[int(rate * WARM_UP_SECONDS) :]
    ids = [order_id for order_id, _ in measured]
    _wait_until_settled(ids)
    confirmed = _commit_to_confirmed(ids)
    answers = [milliseconds for _, milliseconds in measured]
    return Latency(
        accept_p50_ms=percentile(answers, 50),
        accept_p99_ms=percentile(answers, 99),
        confirm_p50_ms=percentile(confirmed, 50),
        confirm_p99_ms=percentile(confirmed, 99),
        sent=len(measured),
    )


def percentile(values: Sequence[float], wanted: int) -> float:
    """Return a percentile of the values."""
    return statistics.quantiles(values, n=100, method="inclusive")[wanted - 1]


async def _send_all(url: str, token: str, rate: float, seconds: float) -> list[tuple[str, float]]:
    total = int(rate * (seconds + WARM_UP_SECONDS))
    headers = {"Authorization": f"Token {token}"}
    limits = httpx.Limits(max_connections=50, max_keepalive_connections=50)
    async with httpx.AsyncClient(base_url=url, headers=headers, limits=limits, timeout=30) as http:
        began = time.perf_counter()
        tasks = []
        for number in range(total):
            await asyncio.sleep(max(0.0, began + number / rate - time.perf_counter()))
            tasks.append(asyncio.create_task(_send_one(http, number)))
        return list(await asyncio.gather(*tasks))


async def _send_one(http: httpx.AsyncClient, number: int) -> tuple[str, float]:
    items = [
        {"sku": f"sku-{1 + number % 100}", "quantity": 1 + number // 100 % 100},
        {"sku": f"sku-{101 + number % 97}", "quantity": 1},
    ]
    body = {"items": items, "payment_method": "pm_card_visa", "shipping_address": BODY_ADDRESS}
    began = time.perf_counter()
    answer = await http.post("/api/v1/orders", json=body, headers={"Idempotency-Key": str(uuid.uuid4())})
    milliseconds = 1000 * (time.perf_counter() - began)
    if answer.status_code != httpx.codes.ACCEPTED:
        raise RuntimeError(f"{answer.status_code}: {answer.text[:300]}")
    return str(answer.json()["id"]), milliseconds


def _wait_until_settled(ids: Sequence[str]) -> None:
    give_up_at = time.monotonic() + 60
    while time.monotonic() < give_up_at:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT count(*) FROM orders_order WHERE id = ANY(%s::uuid[]) AND status <> 'CONFIRMED'",
                [list(ids)],
            )
            if not cursor.fetchone()[0]:
                return
        time.sleep(0.2)
    raise RuntimeError("not all orders were confirmed")


def _commit_to_confirmed(ids: Sequence[str]) -> list[float]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT 1000 * extract(epoch FROM pg_xact_commit_timestamp(c.xmin) - pg_xact_commit_timestamp(o.xmin)) "
            "FROM outbox_message o JOIN outbox_message c ON c.ordering_key = o.ordering_key "
            "WHERE o.ordering_key = ANY(%s::uuid[]) AND o.type = 'order.created' AND c.type = 'order.confirmed'",
            [list(ids)],
        )
        return [float(row[0]) for row in cursor.fetchall()]
