"""A new saga over commands that exist is one file: it is found, checked, routed and consumed; nothing else changes."""

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from tests.architecture.rooms import ROOT

DEFINITION = '''
"""A gift is paid and confirmed at once; the goods are held until the giver calls."""

from uuid import UUID

import msgspec

import inventory.contracts as inventory
import orders.contracts as orders
import payments.contracts as payments
from sagas.definition import SagaDefinition, Step


class GiftData(msgspec.Struct, frozen=True, kw_only=True):
    order_id: UUID
    lines: tuple[orders.Line, ...]
    amount: int
    currency: str
    payment_method: str


GIFT = SagaDefinition(
    name="gift",
    version=1,
    data=GiftData,
    started_by=orders.OrderCreated,
    lock="gift",
    steps=(
        Step("reserve-inventory", action=inventory.ReserveInventory, compensation=inventory.ReleaseInventory),
        Step("charge-payment", action=payments.ChargePayment, compensation=payments.RefundPayment),
        Step("confirm-order", action=orders.ConfirmOrder, pivot=True),
    ),
    on_compensated=orders.CancelOrder,
)
'''

# Run in a process of its own: routing and consumers are built once per process.
LOOK = """
import django; django.setup()
import msgspec, sys
from config.routing import ROUTING
from outbox.consumers import CONSUMERS
from sagas.definition import definitions, latest
from sagas.testing import given, sample

definition = latest("gift")
story = given(definition).started_by(sample(definition.started_by)).settle().expect_ended("COMPLETED")
sys.stdout.buffer.write(msgspec.json.encode({
    "known": [name for name, _ in definitions()],
    "routed": [wire_type for wire_type, names in ROUTING.destinations.items() if "sagas" in names],
    "consumed": [message.wire_type for message in CONSUMERS["sagas"].handlers],
    "sent": [type(sent.order.command).__name__ for sent in story.sent],
}))
"""


class Look(msgspec.Struct):
    """What a process with the new file sees."""

    known: list[str]
    routed: list[str]
    consumed: list[str]
    sent: list[str]


@pytest.fixture
def look(tmp_path: Path) -> Look:
    package = tmp_path / "gift_sagas"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "gift.py").write_text(DEFINITION)
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)]),
        "SAGA_DEFINITIONS": "gift_sagas",
        "DJANGO_SETTINGS_MODULE": "config.settings",
    }
    run = subprocess.run([sys.executable, "-c", LOOK], env=environment, capture_output=True, cwd=ROOT)
    assert run.returncode == 0, run.stderr.decode()
    return msgspec.json.decode(run.stdout, type=Look)


def test_a_new_saga_is_one_file(look: Look) -> None:
    wanted = {
        "order.created",
        "inventory.reserved",
        "inventory.failed",
        "inventory.released",
        "payment.charged",
        "payment.failed",
        "payment.refunded",
        "order.confirmed",
        "order.confirm_refused",
        "order.cancelled",
        "message.dead_lettered",
        "payment.mismatch_found",
        "shipment.mismatch_found",
    }

    assert look.known == ["gift"]
    assert set(look.routed) == wanted
    assert set(look.consumed) == wanted
    assert look.sent == ["ReserveInventory", "ChargePayment", "ConfirmOrder"]
