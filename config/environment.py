"""How settings are read from the environment: each with its kind and bounds, and one clear line when it is wrong."""

from __future__ import annotations

import environ
from django.core.exceptions import ImproperlyConfigured

env = environ.Env()


def choice(name: str, allowed: tuple[str, ...], default: str) -> str:
    """Return one of the allowed values. Raises: ImproperlyConfigured."""
    value: str = env.str(name, default)
    if value not in allowed:
        raise ImproperlyConfigured(f"{name} is {value!r}; it must be one of: {', '.join(allowed)}")
    return value


def number(name: str, default: float, *, least: float, most: float) -> float:
    """Return a number within bounds. Raises: ImproperlyConfigured."""
    try:
        value = float(env.str(name, str(default)))
    except ValueError as error:
        raise ImproperlyConfigured(f"{name} must be a number") from error
    if not least <= value <= most:
        raise ImproperlyConfigured(f"{name} is {value:g}; it must lie between {least:g} and {most:g}")
    return value


def amounts(parts: list[str]) -> dict[str, int]:
    """Return amounts in minor units by currency; "" is any other one. Raises: ImproperlyConfigured."""
    pairs = [part.rpartition("=") for part in parts]
    found = {currency.strip(): amount.strip() for currency, _, amount in pairs}
    if "" not in found or not all(amount.isdecimal() for amount in found.values()):
        raise ImproperlyConfigured("FOUR_EYES_AMOUNT must be an amount in minor units, then CURRENCY=amount for others")
    return {currency: int(amount) for currency, amount in found.items()}


def url(name: str, schemes: tuple[str, ...], default: str | None = None) -> str:
    """Return a URL with one of the schemes; required when there is no default. Raises: ImproperlyConfigured."""
    value: str = env.str(name, default) if default is not None else env.str(name, "")
    if not value:
        raise ImproperlyConfigured(f"{name} is not set; give it as {schemes[0]}://…")
    if value.split("://", 1)[0] not in schemes or "://" not in value:
        raise ImproperlyConfigured(f"{name} must begin with one of: {', '.join(s + '://' for s in schemes)}")
    return value
