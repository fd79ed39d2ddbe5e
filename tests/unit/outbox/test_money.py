"""Minor units and text are two views of one amount."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outbox.money import EXPONENTS, to_minor_units, to_text


@pytest.mark.parametrize(
    ("minor_units", "currency", "text"),
    [(1234, "EUR", "12.34"), (5, "USD", "0.05"), (1234, "JPY", "1234"), (1234, "KWD", "1.234")],
)
def test_amounts_have_the_decimals_of_their_currency(minor_units: int, currency: str, text: str) -> None:
    assert to_text(minor_units=minor_units, currency=currency) == text
    assert to_minor_units(amount=Decimal(text), currency=currency) == minor_units


@given(minor_units=st.integers(0, 10**12), currency=st.sampled_from(sorted(EXPONENTS)))
def test_there_and_back_changes_nothing(minor_units: int, currency: str) -> None:
    text = to_text(minor_units=minor_units, currency=currency)

    assert to_minor_units(amount=Decimal(text), currency=currency) == minor_units


def test_an_amount_is_never_rounded() -> None:
    with pytest.raises(ValueError, match="more decimals than EUR"):
        to_minor_units(amount=Decimal("0.001"), currency="EUR")
