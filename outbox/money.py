"""Money: whole minor units of an ISO 4217 currency inside, a decimal number outside, never a float."""

from __future__ import annotations

from decimal import Decimal

# How many decimals an amount of each accepted currency has (ISO 4217, "minor unit").
EXPONENTS = {
    "AED": 2, "AUD": 2, "BHD": 3, "BRL": 2, "CAD": 2, "CHF": 2, "CLP": 0, "CNY": 2, "CZK": 2, "DKK": 2,
    "EUR": 2, "GBP": 2, "HKD": 2, "HUF": 2, "ILS": 2, "INR": 2, "ISK": 0, "JOD": 3, "JPY": 0, "KRW": 0,
    "KWD": 3, "MXN": 2, "NOK": 2, "NZD": 2, "OMR": 3, "PLN": 2, "RON": 2, "SAR": 2, "SEK": 2, "SGD": 2,
    "THB": 2, "TND": 3, "TRY": 2, "TWD": 2, "UAH": 2, "USD": 2, "VND": 0, "ZAR": 2,
}  # fmt: skip
# Of a currency that is not listed, as another context may name it in an event.
USUAL_EXPONENT = 2


def to_minor_units(*, amount: Decimal, currency: str) -> int:
    """Return the amount in minor units. Raises: ValueError when it has more decimals than the currency."""
    minor = amount.scaleb(EXPONENTS[currency])
    if minor != minor.to_integral_value():
        raise ValueError(f"{amount} has more decimals than {currency} knows")
    return int(minor)


def to_text(*, minor_units: int, currency: str) -> str:
    """Return the amount as a decimal number with exactly the currency's decimals, two for an unlisted one."""
    exponent = EXPONENTS.get(currency, USUAL_EXPONENT)
    return f"{Decimal(minor_units).scaleb(-exponent):.{exponent}f}"


def money(*, minor_units: int, currency: str) -> dict[str, str]:
    """Return `{"amount": "12.34", "currency": "EUR"}` for 1234 minor units of EUR, as the API writes it."""
    return {"amount": to_text(minor_units=minor_units, currency=currency), "currency": currency}
