"""The naive shop's web application: it commits an order, and then tells Celery of it."""

from __future__ import annotations

from typing import Any

from psycopg.types.json import Jsonb
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from bench.naive import work
from bench.naive.tables import transaction


def _place(key: str, items: list[dict[str, Any]]) -> str:
    with transaction() as connection:
        made = connection.execute(
            "INSERT INTO orders (key, amount) SELECT %s, sum(s.price * i.quantity) "
            "FROM jsonb_to_recordset(%s) i(sku text, quantity int) JOIN stock s USING (sku) "
            "ON CONFLICT (key) DO NOTHING RETURNING id",
            [key, Jsonb(items)],
        ).fetchone()
        if made is None:
            row = connection.execute("SELECT id FROM orders WHERE key = %s", [key]).fetchone()
            assert row is not None
            return str(row[0])
        for item in items:
            connection.execute(
                "INSERT INTO lines (order_id, sku, quantity) VALUES (%s, %s, %s)",
                [made[0], item["sku"], item["quantity"]],
            )
    # Only once it is committed: a task must not look for an order that does not exist yet.
    work.reserve.delay(str(made[0]))
    return str(made[0])


def _turn_back(order_id: str, before: str, meanwhile: str, reason: str) -> bool:
    with transaction() as connection:
        changed = connection.execute(
            "UPDATE orders SET status = %s, reason = %s WHERE id = %s AND status = %s",
            [meanwhile, reason, order_id, before],
        ).rowcount
    if changed:
        work.compensate.delay(order_id)
    return bool(changed)


async def _orders(request: Request) -> Response:
    body = await request.json()
    order_id = await run_in_threadpool(_place, request.headers["Idempotency-Key"], body["items"])
    return JSONResponse({"id": order_id, "status": "PENDING"}, status_code=202)


async def _cancel(request: Request) -> Response:
    done = await run_in_threadpool(_turn_back, request.path_params["id"], "PENDING", "CANCELLING", "customer")
    return Response(status_code=202 if done else 409)


async def _return(request: Request) -> Response:
    done = await run_in_threadpool(_turn_back, request.path_params["id"], "CONFIRMED", "RETURNING", "customer")
    return Response(status_code=202 if done else 409)


async def _health(_request: Request) -> Response:
    return Response()


app = Starlette(
    routes=[
        Route("/api/v1/orders", _orders, methods=["POST"]),
        Route("/api/v1/orders/{id}/cancel", _cancel, methods=["POST"]),
        Route("/api/v1/orders/{id}/returns", _return, methods=["POST"]),
        Route("/readyz", _health),
    ]
)
