"""The outside world of payments behind one seam; `settings.PAYMENT_GATEWAY` names the one that charges."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from django.conf import settings

from payments.gateways.instant import InstantGateway
from payments.gateways.protocol import Gateway
from payments.gateways.simulated import LEDGER_SECONDS, SimulatedBank

# While a person waits for a page no call takes longer.
HURRY_SECONDS = 2.0


def current() -> Gateway:
    """Return the gateway that takes new charges."""
    return named(settings.PAYMENT_GATEWAY)


def hurried() -> Gateway:
    """Return the same gateway for questions while a person waits: no call takes longer than `HURRY_SECONDS`."""
    return _HURRIED[settings.PAYMENT_GATEWAY]()


def named(name: str) -> Gateway:
    """Return a gateway by name: what one has charged, only the same one can give back. Raises: KeyError."""
    return _GATEWAYS[name]()


@cache
def _bank(base_url: str, timeout_seconds: float, ledger_seconds: float = LEDGER_SECONDS) -> SimulatedBank:
    return SimulatedBank(base_url=base_url, timeout_seconds=timeout_seconds, ledger_seconds=ledger_seconds)


def _hurried_bank() -> SimulatedBank:
    seconds = min(settings.GATEWAY_TIMEOUT_SECONDS, HURRY_SECONDS)
    return _bank(settings.BANK_URL, seconds, seconds)


_GATEWAYS: dict[str, Callable[[], Gateway]] = {
    SimulatedBank.name: lambda: _bank(settings.BANK_URL, settings.GATEWAY_TIMEOUT_SECONDS),
    InstantGateway.name: InstantGateway,
}
_HURRIED: dict[str, Callable[[], Gateway]] = {SimulatedBank.name: _hurried_bank, InstantGateway.name: InstantGateway}
