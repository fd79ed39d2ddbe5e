"""The settings name the gateway; each says in its own way what the protocol asks for."""

import pytest
from pytest_django import Settings
from uuid_utils.compat import uuid7

from payments import gateways
from payments.gateways.instant import InstantGateway
from payments.gateways.protocol import ChargeMade, ChargeRequest, RefundMade, RefundRequest
from payments.gateways.simulated import SimulatedBank


def test_the_settings_name_the_gateway(settings: Settings) -> None:
    settings.PAYMENT_GATEWAY = "instant"
    assert isinstance(gateways.current(), InstantGateway)

    settings.PAYMENT_GATEWAY = "simulated"
    assert isinstance(gateways.current(), SimulatedBank)
    assert gateways.current() is gateways.current()


def test_an_unknown_gateway_is_an_error() -> None:
    with pytest.raises(KeyError, match="nowhere"):
        gateways.named("nowhere")


def test_the_instant_gateway_says_yes() -> None:
    gateway = InstantGateway()
    order_id = uuid7()

    charge = gateway.charge(
        ChargeRequest(key="k", order_id=order_id, amount=5, currency="EUR", payment_method="pm_card_visa")
    )
    refund = gateway.refund(RefundRequest(key="r", charge_key="k", order_id=order_id, amount=5, currency="EUR"))

    assert charge == ChargeMade(gateway="instant", key="k", amount=5, currency="EUR", reference="instant-k")
    assert refund == RefundMade(key="r", reference="instant-r")
