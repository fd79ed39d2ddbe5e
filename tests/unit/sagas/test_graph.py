"""A definition is drawn with its way forward, its way back, and its pivot."""

from __future__ import annotations

import inventory.contracts as inventory
import orders.contracts as orders
import payments.contracts as payments
from sagas.definition import Parallel, SagaDefinition, Step
from sagas.definitions.order_fulfilment import ORDER_FULFILMENT, OrderFulfilmentData
from sagas.definitions.order_return import ORDER_RETURN
from sagas.graph import mermaid


def edges(drawing: str) -> list[str]:
    return [line.strip() for line in drawing.splitlines() if "->" in line]


def test_a_saga_without_a_way_back_leads_only_forward() -> None:
    drawing = mermaid(ORDER_RETURN)

    assert drawing == "\n".join(
        [
            "flowchart LR",
            '    started(["order.return_requested"])',
            '    refund-payment{{"<b>refund-payment</b><br>payment.refund"}}',
            '    restock-inventory["<b>restock-inventory</b><br>inventory.release<br>retried until done"]',
            '    notify-customer["<b>notify-customer</b><br>order.return<br>retried until done"]',
            '    completed(["COMPLETED"])',
            "    started --> refund-payment --> restock-inventory --> notify-customer --> completed",
            "    classDef pivot stroke-width:4px",
            "    class refund-payment pivot",
        ]
    )


def test_each_failure_leads_back_to_what_was_done_before() -> None:
    drawing = mermaid(ORDER_FULFILMENT)

    assert edges(drawing) == [
        "started --> reserve-inventory --> charge-payment --> create-shipment --> confirm-order --> completed",
        "reserve-inventory -.->|inventory.failed| close-saga",
        "reserve-inventory -.->|outcome unknown| undo-reserve-inventory",
        "charge-payment -.->|payment.failed| undo-reserve-inventory",
        "charge-payment -.->|outcome unknown| undo-charge-payment",
        "create-shipment -.->|shipment.failed| undo-charge-payment",
        "create-shipment -.->|outcome unknown| undo-create-shipment",
        "confirm-order -.->|order.confirm_refused| undo-create-shipment",
        "undo-create-shipment -.-> undo-charge-payment",
        "undo-charge-payment -.-> undo-reserve-inventory",
        "undo-reserve-inventory -.-> close-saga",
        "close-saga -.-> compensated",
    ]


def test_parallel_steps_go_out_and_back_together() -> None:
    definition = SagaDefinition(
        name="both-at-once",
        version=1,
        data=OrderFulfilmentData,
        started_by=orders.OrderCreated,
        steps=(
            Parallel(
                Step("reserve", action=inventory.ReserveInventory, compensation=inventory.ReleaseInventory),
                Step("charge", action=payments.ChargePayment, compensation=payments.RefundPayment),
            ),
            Step("confirm", action=orders.ConfirmOrder, pivot=True),
        ),
    )

    drawing = mermaid(definition)

    assert edges(drawing) == [
        "started --> reserve & charge --> confirm --> completed",
        "reserve -.->|inventory.failed| undo-charge",
        "reserve -.->|outcome unknown| undo-reserve",
        "charge -.->|payment.failed| undo-reserve",
        "charge -.->|outcome unknown| undo-charge",
        "confirm -.->|order.confirm_refused| undo-reserve & undo-charge",
        "undo-reserve & undo-charge -.-> compensated",
    ]
