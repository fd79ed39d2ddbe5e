"""Money as the API writes it: a decimal number with its currency, never a float."""

from __future__ import annotations

from decimal import Decimal

# ISO 4217 "minor unit", where it is not 2.
_EXPONENTS = {
    **dict.fromkeys(("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX", "VND", "VUV"), 0),
    **dict.fromkeys(("XAF", "XOF", "XPF"), 0),
    **dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3),
}


def money(*, minor_units: int, currency: str) -> dict[str, str]:
    """Return `{"amount": "12.34", "currency": "EUR"}` for 1234 minor units of EUR."""
    exponent = _EXPONENTS.get(currency, 2)
    amount = Decimal(minor_units).scaleb(-exponent)
    return {"amount": f"{amount:.{exponent}f}", "currency": currency}
