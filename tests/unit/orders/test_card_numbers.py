"""Whatever looks like a card number is found, wherever it is in a body."""

import pytest

from orders.api.card_numbers import card_number_paths, holds_issued_number, is_card_number, strike_out


@pytest.mark.parametrize(
    "text",
    [
        "4242424242424242",
        "4242 4242 4242 4242",
        "4242-4242-4242-4242",
        "card 4242424242424242 please",
        "4242 4242 4242 4242 12 29",
        "１２ 4222222222222",
        "378282246310005",
        "6304000000000000000",
        "4242  4242\N{EN DASH}4242/4242",
        "order-4242424242424242",
        "x4242424242424242x",
    ],
)
def test_card_numbers_are_recognized(text: str) -> None:
    assert is_card_number(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "pm_card_visa",
        "4242424242424241",
        "424242424242",
        "42424242424242424242",
        "1 Main St, 10115 Berlin",
        "+49 30 1234567",
        "01a20d86-b4d8-765b-8be0-e951d55da303",
        "00000000-4242-4242-4242-424200000000",
        "d41d8cd942424242424242428ecf8427",
    ],
)
def test_other_texts_are_not(text: str) -> None:
    assert not is_card_number(text)


def test_places_are_named_without_repeating_the_number() -> None:
    number = "4242424242424242"

    paths = card_number_paths(
        body={
            "payment_method": number,
            "items": [{"sku": "A", "quantity": 4242424242424242}, {number: 1}],
            "shipping_address": {"name": "Ada", "line1": [number]},
        }
    )

    assert sorted(paths, key=str) == [
        ("items", 0, "quantity"),
        ("items", 1),
        ("payment_method",),
        ("shipping_address", "line1", 0),
    ]


def test_a_sku_may_be_a_barcode() -> None:
    assert card_number_paths(body={"items": [{"sku": "4006381333931"}, {"sku": "4242424242424242"}]}) == []


def test_a_whole_body_may_be_a_card_number() -> None:
    assert card_number_paths(body="4242424242424242") == [()]


def test_a_time_in_milliseconds_is_no_card_of_a_bank() -> None:
    moment = "1732461199124"

    assert is_card_number(moment)
    assert not holds_issued_number(f"order-{moment}")
    assert holds_issued_number("order-4242424242424242")


def test_numbers_are_struck_out_of_a_text() -> None:
    text = "GET /4242424242424242?a=5555-5555-5555-4444 1732461199124 01a20d86-b4d8-765b-8be0-e951d55da303"

    assert strike_out(text) == ("GET /[card number]?a=[card number] 1732461199124 01a20d86-b4d8-765b-8be0-e951d55da303")
