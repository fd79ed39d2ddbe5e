"""A saga of another trade, with steps side by side before and after its pivot: the engine knows no shop."""

from datetime import timedelta
from typing import ClassVar
from uuid import UUID

import msgspec

from outbox.contracts import Command, Event, FailureEvent
from sagas.definition import Parallel, SagaDefinition, Step


class TripPlanned(Event, frozen=True, kw_only=True):
    wire_type: ClassVar[str] = "trip.planned"
    trip_id: UUID
    travellers: int


class TripCalledOff(Event, frozen=True, kw_only=True):
    wire_type: ClassVar[str] = "trip.called_off"
    trip_id: UUID
    reason: str


class Done(Event, frozen=True, kw_only=True):
    """The one answer of all commands here: replies are told apart by their step, never by their type."""

    wire_type: ClassVar[str] = "trip.done"
    trip_id: UUID


class Refused(FailureEvent, frozen=True, kw_only=True):
    wire_type: ClassVar[str] = "trip.refused"
    trip_id: UUID


class TripCommand(Command, frozen=True, kw_only=True):
    success: ClassVar[type[Event]] = Done
    failure: ClassVar[type[FailureEvent] | None] = Refused
    trip_id: UUID


class HoldPassports(TripCommand, frozen=True, kw_only=True):
    wire_type: ClassVar[str] = "trip.hold_passports"


class ReturnPassports(TripCommand, frozen=True, kw_only=True):
    wire_type: ClassVar[str] = "trip.return_passports"


class BookFlight(TripCommand, frozen=True, kw_only=True):
    wire_type: ClassVar[str] = "trip.book_flight"
    travellers: int


class CancelFlight(TripCommand, frozen=True, kw_only=True):
    wire_type: ClassVar[str] = "trip.cancel_flight"


class BookHotel(TripCommand, frozen=True, kw_only=True):
    wire_type: ClassVar[str] = "trip.book_hotel"


class CancelHotel(TripCommand, frozen=True, kw_only=True):
    wire_type: ClassVar[str] = "trip.cancel_hotel"


class IssueTickets(TripCommand, frozen=True, kw_only=True):
    wire_type: ClassVar[str] = "trip.issue_tickets"


class SendItinerary(TripCommand, frozen=True, kw_only=True):
    wire_type: ClassVar[str] = "trip.send_itinerary"


class AddMiles(TripCommand, frozen=True, kw_only=True):
    wire_type: ClassVar[str] = "trip.add_miles"


class CloseTrip(TripCommand, frozen=True, kw_only=True):
    wire_type: ClassVar[str] = "trip.close"
    reason: str


class TripData(msgspec.Struct, frozen=True, kw_only=True):
    trip_id: UUID
    travellers: int = 1


TRIP = SagaDefinition(
    name="trip",
    version=1,
    data=TripData,
    started_by=TripPlanned,
    steps=(
        Step("hold-passports", action=HoldPassports, compensation=ReturnPassports),
        Parallel(
            Step("book-flight", action=BookFlight, compensation=CancelFlight),
            Step("book-hotel", action=BookHotel, compensation=CancelHotel, deadline=timedelta(minutes=5)),
        ),
        Step("issue-tickets", action=IssueTickets, pivot=True),
        Parallel(
            Step("send-itinerary", action=SendItinerary),
            Step("add-miles", action=AddMiles),
        ),
    ),
    cancelled_by=TripCalledOff,
    on_compensated=CloseTrip,
)
