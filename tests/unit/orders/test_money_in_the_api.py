"""Money goes out as a decimal number with the currency's own number of decimals."""

import pytest

from outbox.money import money


@pytest.mark.parametrize(
    ("minor_units", "currency", "amount"),
    [
        (0, "EUR", "0.00"),
        (1, "EUR", "0.01"),
        (1234, "EUR", "12.34"),
        (1234, "JPY", "1234"),
        (1234, "KWD", "1.234"),
        (10**18, "USD", "10000000000000000.00"),
    ],
)
def test_amounts_have_the_decimals_of_their_currency(minor_units: int, currency: str, amount: str) -> None:
    assert money(minor_units=minor_units, currency=currency) == {"amount": amount, "currency": currency}
