"""What may be edited of a message: said of plain values, without a database."""

from __future__ import annotations

from typing import Any

import pytest

from outbox.models import Message
from sagas.editing import FIXED, Misfit, NotEditable, check, filled_in, fixed_fields, free_fields, shown

ADDRESS = {"name": "Ada", "line1": "12 Baker Street", "city": "London", "postal_code": "NW1", "country": "GB"}
ORDER = "0190a0a0-0000-7000-8000-000000000001"


def shipment(**changes: Any) -> Message:
    payload = {"order_id": ORDER, "lines": [{"sku": "TEA", "quantity": 2}], "address": ADDRESS, **changes}
    return Message(type="shipment.create", payload=payload)


def test_what_is_about_a_person_is_not_shown() -> None:
    assert shown(shipment()) == {
        "order_id": ORDER,
        "lines": [{"sku": "TEA", "quantity": 2}],
        "address": "•••",
    }


def test_what_was_struck_out_and_left_so_is_put_back() -> None:
    message = shipment()

    assert filled_in(message, shown(message)) == message.payload


def test_a_whole_value_that_is_written_anew_takes_its_place() -> None:
    elsewhere = {**ADDRESS, "city": "Leeds"}

    assert filled_in(shipment(), {**shown(shipment()), "address": elsewhere})["address"] == elsewhere


def test_nothing_is_put_back_where_nothing_was_struck_out() -> None:
    assert filled_in(shipment(), {"order_id": "•••"}) == {"order_id": "•••"}


def test_the_difference_names_the_field_and_hides_the_person() -> None:
    message = shipment()

    assert check(message, {**message.payload, "address": {**ADDRESS, "city": "Leeds"}}) == {"address": ["•••", "•••"]}


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"order_id": ORDER.replace("1", "2")}, "order_id cannot be changed"),
        ({"lines": [{"sku": "TEA", "quantity": 3}]}, "lines cannot be changed: what was ordered and paid for"),
        ({"address": {"name": "Ada"}}, "missing required field `line1`"),
        ({"address": {**ADDRESS, "city": "•••"}}, "write the whole value anew"),
        ({"amount": 1}, "has no field amount"),
        ({"reference": "x"}, "has no field reference"),
        ({}, "nothing was changed"),
    ],
)
def test_what_does_not_do_is_refused(changes: dict[str, Any], why: str) -> None:
    message = shipment()

    with pytest.raises(Misfit, match=why):
        check(message, {**message.payload, **changes})


@pytest.mark.parametrize("payload", [[], "text", None, 7])
def test_a_payload_is_an_object(payload: object) -> None:
    with pytest.raises(Misfit, match="must be a JSON object"):
        check(shipment(), payload)


def test_a_field_that_a_newer_release_has_written_stays() -> None:
    message = shipment(gift=True)

    assert check(message, {**message.payload, "gift": False}) == {"gift": [True, False]}


def test_a_type_that_this_release_does_not_know_is_not_edited() -> None:
    with pytest.raises(NotEditable, match=r"does not know wish\.granted"):
        check(Message(type="wish.granted", payload={}), {})


def test_the_page_can_name_what_is_free_and_why_the_rest_is_not() -> None:
    assert free_fields(shipment()) == ["address"]
    assert fixed_fields(shipment()) == {"order_id": FIXED["order_id"], "lines": FIXED["lines"]}
