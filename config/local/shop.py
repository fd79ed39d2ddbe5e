"""The shop as a customer's program sees it: orders over HTTP, sent again until they are answered."""

import asyncio
import time
import uuid
from collections.abc import Mapping
from typing import Any

import httpx

ADDRESS = {"name": "Ada Lovelace", "line1": "1 Analytical Way", "city": "Berlin", "postal_code": "10115"}
_PATIENCE_SECONDS = 120.0
_POLL_SECONDS = 0.25
_UNSETTLED = {"PENDING", "CANCELLING", "RETURNING"}


class Customer:
    """One customer of the shop, by API token."""

    def __init__(self, *, http: httpx.AsyncClient, token: str) -> None:
        self._http = http
        self._headers = {"Authorization": f"Token {token}"}

    async def order(
        self,
        *,
        items: Mapping[str, int],
        payment_method: str = "pm_card_visa",
        country: str = "DE",
        key: str | None = None,
    ) -> httpx.Response:
        """Send a checkout of these quantities by SKU; return the answer. No key given means a new one."""
        body = {
            "items": [{"sku": sku, "quantity": quantity} for sku, quantity in items.items()],
            "payment_method": payment_method,
            "shipping_address": ADDRESS | {"country": country},
        }
        return await self._send("POST", "/api/v1/orders", json=body, key=key or str(uuid.uuid4()))

    async def ask(self, order_id: str, wish: str) -> httpx.Response:
        """Ask for an order's cancel or return (`cancel`, `returns`) and return the answer."""
        return await self._send("POST", f"/api/v1/orders/{order_id}/{wish}", key=str(uuid.uuid4()))

    async def end_of(self, order_id: str, *, seconds: float) -> str:
        """Wait until the order is settled, or the time is over; return its status, with the reason."""
        limit = time.monotonic() + seconds
        while True:
            order = (await self._send("GET", f"/api/v1/orders/{order_id}")).raise_for_status().json()
            if order["status"] not in _UNSETTLED or time.monotonic() > limit:
                return end(order)
            await asyncio.sleep(_POLL_SECONDS)

    async def has_unsettled_orders(self) -> bool:
        """Tell whether an order of this customer is still on its way."""
        for status in sorted(_UNSETTLED):
            if (await self._page("/api/v1/orders", status=status, page_size="1"))["results"]:
                return True
        return False

    async def ends(self) -> dict[str, str]:
        """Return the end of every order of this customer by its id."""
        return {order["id"]: end(order) for order in await self._all("/api/v1/orders")}

    async def available(self, sku: str) -> int:
        """Return how many pieces of a product can be ordered now."""
        return int({item["sku"]: item["available"] for item in await self._all("/api/v1/products")}[sku])

    async def _all(self, path: str) -> list[dict[str, Any]]:
        page = await self._page(path, page_size="100")
        found = page["results"]
        while page["next"]:
            page = await self._page(page["next"])
            found += page["results"]
        return list(found)

    async def _page(self, path: str, **parameters: str) -> dict[str, Any]:
        # No parameters means None: an empty mapping would strip the cursor from the address of a next page.
        answer = await self._send("GET", path, params=parameters or None)
        page: dict[str, Any] = answer.raise_for_status().json()
        return page

    async def _send(self, method: str, path: str, *, key: str | None = None, **content: Any) -> httpx.Response:
        """Send a request, again while nothing certain is known of it: that is what the key is for."""
        headers = self._headers | ({"Idempotency-Key": key} if key else {})
        limit = time.monotonic() + _PATIENCE_SECONDS
        while True:
            try:
                answer = await self._http.request(method, path, headers=headers, **content)
            except httpx.TransportError:
                if time.monotonic() > limit:
                    raise
            else:
                if not _is_temporary(answer) or time.monotonic() > limit:
                    return answer
            await asyncio.sleep(_POLL_SECONDS)


def end(order: Mapping[str, Any]) -> str:
    """Return an order's status, with the reason if there is one."""
    return f"{order['status']} {order['reason'] or ''}".strip()


def code_of(answer: httpx.Response) -> str:
    """Return the status code of an answer, with the problem's own code if it is a refusal."""
    return f"{answer.status_code} {answer.json()['code']}" if answer.is_error else str(answer.status_code)


def _is_temporary(answer: httpx.Response) -> bool:
    if answer.status_code == httpx.codes.CONFLICT:
        return bool(answer.json()["code"] == "idempotency-key-in-flight")
    return answer.status_code in {429, 502, 503, 504}
