"""The outside world of shipping behind one seam; `settings.CARRIER` names the one that takes new parcels."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from django.conf import settings

from shipping.carriers.instant import InstantCarrier
from shipping.carriers.protocol import Carrier
from shipping.carriers.simulated import LEDGER_SECONDS, SimulatedCarrier

# While a person waits for a page no call takes longer.
HURRY_SECONDS = 2.0


def current() -> Carrier:
    """Return the carrier that takes new parcels."""
    return named(settings.CARRIER)


def hurried() -> Carrier:
    """Return the same carrier for questions while a person waits: no call takes longer than `HURRY_SECONDS`."""
    return _HURRIED[settings.CARRIER]()


def named(name: str) -> Carrier:
    """Return a carrier by name: a parcel can only be stopped by the one that has it. Raises: KeyError."""
    return _CARRIERS[name]()


@cache
def _simulated(base_url: str, timeout_seconds: float, ledger_seconds: float = LEDGER_SECONDS) -> SimulatedCarrier:
    return SimulatedCarrier(base_url=base_url, timeout_seconds=timeout_seconds, ledger_seconds=ledger_seconds)


def _hurried_carrier() -> SimulatedCarrier:
    seconds = min(settings.GATEWAY_TIMEOUT_SECONDS, HURRY_SECONDS)
    return _simulated(settings.CARRIER_URL, seconds, seconds)


_CARRIERS: dict[str, Callable[[], Carrier]] = {
    SimulatedCarrier.name: lambda: _simulated(settings.CARRIER_URL, settings.GATEWAY_TIMEOUT_SECONDS),
    InstantCarrier.name: InstantCarrier,
}
_HURRIED: dict[str, Callable[[], Carrier]] = {
    SimulatedCarrier.name: _hurried_carrier,
    InstantCarrier.name: InstantCarrier,
}
