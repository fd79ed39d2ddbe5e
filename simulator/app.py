"""The simulator's web application: the bank and the carrier side by side, and one shape for every error."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from http import HTTPStatus

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route

from simulator.bank import Bank
from simulator.carrier import Carrier
from simulator.ledger import Ledger
from simulator.webhooks import Webhooks
from simulator.wire import Refusal, render, respond, respond_refusal

logger = logging.getLogger(__name__)


def build_app(*, ledger: Ledger, hold_seconds: float, webhooks: Webhooks | None = None) -> Starlette:
    """Build the application; it sends webhooks while it runs, and closes the ledger when it stops."""
    bank = Bank(ledger=ledger, hold_seconds=hold_seconds, webhooks=webhooks)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        sending = asyncio.create_task(webhooks.send(control=lambda: bank.control)) if webhooks else None
        yield
        if sending is not None:
            sending.cancel()
            with suppress(asyncio.CancelledError):
                await sending
        ledger.close()

    return Starlette(
        routes=[
            Route("/healthz", _healthz, methods=["GET"]),
            Mount("/bank", routes=bank.routes()),
            Mount("/carrier", routes=Carrier(ledger=ledger, hold_seconds=hold_seconds).routes()),
        ],
        exception_handlers={Refusal: _on_error, HTTPException: _on_error, Exception: _on_error},
        lifespan=lifespan,
    )


async def _healthz(_request: Request) -> Response:
    return respond(status=200, body=render({"status": "ok"}))


async def _on_error(_request: Request, exc: Exception) -> Response:
    if isinstance(exc, Refusal):
        return respond_refusal(exc)
    if isinstance(exc, HTTPException):
        body = render({"code": HTTPStatus(exc.status_code).name.lower(), "detail": exc.detail})
        return respond(status=exc.status_code, body=body, headers=exc.headers)
    logger.error("simulator.call.failed", exc_info=exc)
    return respond_refusal(Refusal(500, "internal_error", "the simulator has a bug; its log says more"))
