"""A new saga over existing commands is one new file among the definitions; nothing else has to know of it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest
from django.db import connection

from config.local.folder import PROJECT

ROOMS = ["outbox", "orders", "inventory", "payments", "shipping", "notifications", "analytics", "sagas"]
pytestmark = pytest.mark.django_db(transaction=True, available_apps=ROOMS)

DEFINITION = '''
"""A cancelled order is looked over once more: nothing held, nothing on its way, closed for good."""

from uuid import UUID

import msgspec

import inventory.contracts as inventory
import orders.contracts as orders
import shipping.contracts as shipping
from sagas.definition import SagaDefinition, Step


class AftercareData(msgspec.Struct, frozen=True, kw_only=True):
    """What the steps need of a cancelled order."""

    order_id: UUID
    reason: str


AFTERCARE = SagaDefinition(
    name="aftercare",
    version=1,
    data=AftercareData,
    started_by=orders.OrderCancelled,
    lock="aftercare",
    steps=(
        Step("release-inventory", action=inventory.ReleaseInventory, compensation=inventory.ReleaseInventory),
        Step("stop-shipment", action=shipping.CancelShipment, compensation=shipping.CancelShipment),
        Step("close-order", action=orders.CancelOrder, pivot=True),
    ),
)
'''

# The folder stands for the one that the new file would be put into.
PROGRAM = """
import json, sys
import sagas.definitions
sagas.definitions.__path__.append(sys.argv[1])
import django
django.setup()

from outbox import relay
from outbox.models import Delivery, Lane
from sagas.models import SagaInstance
from tests.factories.inventory import stocked
from tests.factories.orders import placed, price
from tests.messaging import refill_bucket

refill_bucket()
price("MUG")
stocked("MUG", on_hand=1)
order = placed(("MUG", 2))
while sum(relay.run(lane=lane, linger=0) for lane in Lane):
    pass
order.refresh_from_db()
print(json.dumps({
    "order": order.status,
    "waiting": Delivery.objects.count(),
    "sagas": {
        saga.name: [saga.status, {name: state.get("status") for name, state in saga.steps.items()}]
        for saga in SagaInstance.objects.all()
    },
}))
"""


def test_a_new_saga_of_three_steps_is_one_file(tmp_path: Path) -> None:
    (tmp_path / "aftercare.py").write_text(DEFINITION)
    database = urlsplit(os.environ["DATABASE_URL"])._replace(path=f"/{connection.settings_dict['NAME']}")
    environment = os.environ | {
        "DATABASE_URL": urlunsplit(database),
        "DJANGO_SETTINGS_MODULE": "config.settings",
        "PAYMENT_GATEWAY": "instant",
        "CARRIER": "instant",
    }

    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path)],
        env=environment,
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout) == {
        "order": "CANCELLED",
        "waiting": 0,
        "sagas": {
            "order-fulfilment": [
                "COMPENSATED",
                {
                    "reserve-inventory": "FAILED",
                    "charge-payment": None,
                    "create-shipment": None,
                    "confirm-order": None,
                    "close": "SUCCEEDED",
                },
            ],
            "aftercare": [
                "COMPLETED",
                {"release-inventory": "SUCCEEDED", "stop-shipment": "SUCCEEDED", "close-order": "SUCCEEDED"},
            ],
        },
    }
