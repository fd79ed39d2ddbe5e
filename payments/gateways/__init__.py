"""The outside world of payments behind one seam; `settings.PAYMENT_GATEWAY` names the one that charges."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from django.conf import settings

from payments.gateways.instant import InstantGateway
from payments.gateways.protocol import Gateway
from payments.gateways.simulated import SimulatedBank


def current() -> Gateway:
    """Return the gateway that takes new charges."""
    return named(settings.PAYMENT_GATEWAY)


def named(name: str) -> Gateway:
    """Return a gateway by name: what one has charged, only the same one can give back. Raises: KeyError."""
    return _GATEWAYS[name]()


@cache
def _bank(base_url: str, timeout_seconds: float) -> SimulatedBank:
    return SimulatedBank(base_url=base_url, timeout_seconds=timeout_seconds)


_GATEWAYS: dict[str, Callable[[], Gateway]] = {
    SimulatedBank.name: lambda: _bank(settings.BANK_URL, settings.GATEWAY_TIMEOUT_SECONDS),
    InstantGateway.name: InstantGateway,
}
