"""An order has one parcel or none, whatever happens to the carrier's answer on its way."""

import pytest
from django.db import IntegrityError, transaction
from pytest_django import Settings
from uuid_utils.compat import uuid7

from outbox.consumers import Outcome, TransientError, Wait
from outbox.contracts import ACTION, COMPENSATION, Direction, Envelope
from outbox.outside import NothingDone, UnforeseenAnswer
from outbox.transactions import InsideTransaction
from shipping.carriers.protocol import ShipmentAnswer, ShipmentMade, ShipmentRefused
from shipping.contracts import (
    Address,
    CancelShipment,
    CreateShipment,
    Line,
    ShipmentCancelled,
    ShipmentCreated,
    ShipmentFailed,
)
from shipping.handlers import (
    CONSUMER,
    cancel_shipment,
    create_shipment,
    give_up_shipment,
    record_cancellations,
    record_shipments,
)
from shipping.models import Shipment
from tests.factories.envelopes import envelope
from tests.integration.simulator.process import Simulator

pytestmark = pytest.mark.django_db(transaction=True, available_apps=["shipping"])

NOTHING_TO_KNOW = "no answer from the carrier"


def create(country: str = "DE") -> Envelope[CreateShipment]:
    address = Address(name="Ada", line1="1 Zoë St", city="Köln", postal_code="50667", country=country)
    command = CreateShipment(order_id=uuid7(), lines=(Line(sku="MUG", quantity=2),), address=address)
    return envelope(command, step="create-shipment")


def again(message: Envelope[CreateShipment]) -> Envelope[CreateShipment]:
    return envelope(message.data, saga_id=message.correlation_id, step="create-shipment", attempt=2)


def cancel(message: Envelope[CreateShipment], *, direction: Direction = COMPENSATION) -> Envelope[CancelShipment]:
    return envelope(
        CancelShipment(order_id=message.data.order_id),
        saga_id=message.correlation_id if direction == COMPENSATION else None,
        step="create-shipment" if direction == COMPENSATION else "cancel-shipment",
        direction=direction,
    )


def carry_out(message: Envelope[CreateShipment]) -> Outcome:
    [outcome] = record_shipments([(message, create_shipment(message))])
    return outcome


def undo(message: Envelope[CancelShipment]) -> Outcome:
    [outcome] = record_cancellations([(message, cancel_shipment(message))])
    return outcome


def made(message: Envelope[CreateShipment], tracking: str = "T1") -> tuple[Envelope[CreateShipment], ShipmentMade]:
    return message, ShipmentMade(carrier="simulated", tracking=tracking)


def kinds(carrier: Simulator, message: Envelope[CreateShipment]) -> list[str]:
    return carrier.kinds("carrier", str(message.data.order_id))


def test_a_parcel_is_handed_over_and_recorded(carrier: Simulator) -> None:
    message = create()

    outcome = carry_out(message)

    shipment = Shipment.objects.get()
    assert outcome == ShipmentCreated(order_id=message.data.order_id, tracking=shipment.tracking)
    assert (shipment.key, shipment.order_id, shipment.status) == (
        message.step_key,
        message.data.order_id,
        "created",
    )
    assert shipment.tracking.startswith("SIM")
    assert shipment.address["city"] == "Köln"
    assert kinds(carrier, message) == ["shipment"]


def test_a_refused_destination_fails_and_is_recorded(carrier: Simulator) -> None:
    message = create("AQ")

    outcome = carry_out(message)

    assert outcome == ShipmentFailed(
        order_id=message.data.order_id,
        reason="shipping_refused",
        detail="destination_refused: the carrier does not deliver to this address",
    )
    assert list(Shipment.objects.values_list("status", "code")) == [("refused", "destination_refused")]


def test_a_parcel_whose_answer_was_late_is_found_by_its_key(carrier: Simulator) -> None:
    carrier.control("carrier", timeout_created_ratio=1)
    message = create()
    with pytest.raises(TransientError, match=NOTHING_TO_KNOW):
        create_shipment(message)
    noted = Shipment.objects.get().status

    outcome = carry_out(again(message))

    assert noted == "unknown"
    assert isinstance(outcome, ShipmentCreated)
    assert list(Shipment.objects.values_list("status", "tracking")) == [("created", outcome.tracking)]
    assert kinds(carrier, message) == ["shipment"]


def test_a_parcel_that_never_arrived_is_handed_over_by_the_retry(carrier: Simulator) -> None:
    carrier.control("carrier", timeout_ratio=1)
    message = create()
    with pytest.raises(TransientError, match=NOTHING_TO_KNOW):
        create_shipment(message)

    outcome = carry_out(again(message))

    assert isinstance(outcome, ShipmentCreated)
    assert kinds(carrier, message) == ["shipment"]


def test_a_carrier_that_is_away_is_transient_and_known_to_have_done_nothing(carrier: Simulator) -> None:
    carrier.control("carrier", down=True)

    with pytest.raises(NothingDone, match="the carrier answered 503"):
        create_shipment(create())

    assert not Shipment.objects.exists()


def test_giving_up_leaves_open_whether_there_is_a_parcel() -> None:
    message = create()

    outcome = give_up_shipment(message, "no answer")

    assert outcome == ShipmentFailed(
        order_id=message.data.order_id, reason="shipping_unavailable", detail="no answer", definite=False
    )


def test_answers_recorded_twice_are_recorded_once() -> None:
    first, second = create(), create()
    refused = ShipmentRefused(carrier="simulated", code="destination_refused", detail="no")
    answers: list[tuple[Envelope[CreateShipment], ShipmentAnswer]] = [made(first), (second, refused)]

    outcomes = record_shipments(answers)
    before = list(Shipment.objects.order_by("key").values_list())
    repeated = record_shipments([*answers, *answers])

    assert repeated == outcomes * 2
    assert list(Shipment.objects.order_by("key").values_list()) == before


@pytest.mark.parametrize("direction", [COMPENSATION, ACTION])
def test_a_parcel_is_stopped_once(carrier: Simulator, direction: Direction) -> None:
    message = create()
    carry_out(message)

    first = undo(cancel(message, direction=direction))
    second = undo(cancel(message, direction=direction))

    assert first == second == ShipmentCancelled(order_id=message.data.order_id)
    assert Shipment.objects.get().status == "cancelled"
    assert kinds(carrier, message) == ["shipment", "cancellation"]


def test_a_parcel_that_only_the_carrier_knows_of_is_stopped(carrier: Simulator) -> None:
    message = create()
    create_shipment(message)

    outcome = undo(cancel(message))

    assert isinstance(outcome, ShipmentCancelled)
    assert kinds(carrier, message) == ["shipment", "cancellation"]


@pytest.mark.parametrize("direction", [COMPENSATION, ACTION])
def test_an_order_without_a_parcel_needs_no_stop(carrier: Simulator, direction: Direction) -> None:
    message = create()

    outcome = undo(cancel(message, direction=direction))

    assert outcome == ShipmentCancelled(order_id=message.data.order_id)
    assert not Shipment.objects.exists()


def test_a_refused_parcel_stays_refused(carrier: Simulator) -> None:
    message = create("AQ")
    carry_out(message)

    outcome = undo(cancel(message))

    assert isinstance(outcome, ShipmentCancelled)
    assert Shipment.objects.get().status == "refused"


def test_a_parcel_that_may_still_arrive_is_waited_for(carrier: Simulator) -> None:
    carrier.control("carrier", timeout_ratio=1)
    message = create()
    with pytest.raises(TransientError, match=NOTHING_TO_KNOW):
        create_shipment(message)

    early = undo(cancel(message))
    Shipment.objects.update(updated_at="2026-01-01T00:00:00Z")
    late = undo(cancel(message))

    assert isinstance(early, Wait)
    assert 0 < early.delay.total_seconds() <= 0.6
    assert late == ShipmentCancelled(order_id=message.data.order_id)
    assert Shipment.objects.get().status == "cancelled"


def test_a_parcel_that_was_stopped_is_not_taken_for_a_live_one(carrier: Simulator) -> None:
    message = create()
    create_shipment(message)
    undo(cancel(message))

    with pytest.raises(UnforeseenAnswer, match="200 cancelled"):
        create_shipment(again(message))


def test_a_parcel_is_stopped_by_the_carrier_that_has_it(settings: Settings, carrier: Simulator) -> None:
    settings.CARRIER = "instant"
    message = create()
    carry_out(message)
    settings.CARRIER = "simulated"

    outcome = undo(cancel(message))

    assert isinstance(outcome, ShipmentCancelled)
    assert Shipment.objects.get().status == "cancelled"
    assert kinds(carrier, message) == []


def test_the_carrier_is_not_called_while_a_transaction_is_open(carrier: Simulator) -> None:
    message = create()

    with pytest.raises(InsideTransaction), transaction.atomic():
        create_shipment(message)

    assert kinds(carrier, message) == []


def test_a_second_live_parcel_of_one_order_is_refused_by_the_database() -> None:
    message = create()
    other = envelope(message.data, step="create-shipment")
    record_shipments([made(message)])

    with pytest.raises(IntegrityError, match="shipping_shipment_one_live_per_order"):
        record_shipments([made(other)])


def test_a_live_parcel_can_be_followed() -> None:
    with pytest.raises(IntegrityError, match="shipping_shipment_live_has_tracking"):
        record_shipments([made(create(), tracking="")])


def test_a_parcel_that_cannot_be_stopped_is_left_to_a_person() -> None:
    handler = CONSUMER.handlers[CancelShipment]

    assert getattr(handler, "give_up", None) is None
    assert handler.policy.attempts == 5
