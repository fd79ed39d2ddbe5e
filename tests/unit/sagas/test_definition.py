"""A definition that breaks a rule does not survive its import, and the message says which rule and where."""

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar
from uuid import UUID

import msgspec
import pytest
from pytest_django import Settings

from outbox.contracts import Command, Event, MessageDeadLettered
from sagas.definition import (
    CLOSE,
    DefinitionError,
    Parallel,
    SagaDefinition,
    Step,
    definitions,
    events_of_interest,
    latest,
)
from tests.unit.sagas.cases import DEFINITIONS
from tests.unit.sagas.trips import (
    TRIP,
    BookFlight,
    BookHotel,
    CancelFlight,
    CancelHotel,
    CloseTrip,
    Done,
    HoldPassports,
    IssueTickets,
    Refused,
    ReturnPassports,
    TripCalledOff,
    TripCommand,
    TripData,
    TripPlanned,
)


class UpgradeSeat(TripCommand, frozen=True, kw_only=True):
    wire_type: ClassVar[str] = "trip.upgrade_seat"
    seat: str
    price: int


class Reprice(Command, frozen=True, kw_only=True):
    wire_type: ClassVar[str] = "trip.reprice"
    success: ClassVar[type[Event]] = Done
    trip_id: int


class NamedTravellers(msgspec.Struct, frozen=True, kw_only=True):
    trip_id: UUID
    travellers: str


class SurveyedTrip(TripData, frozen=True, kw_only=True):
    stars: int


HOLD = Step("hold-passports", action=HoldPassports, compensation=ReturnPassports)
TICKETS = Step("issue-tickets", action=IssueTickets, pivot=True)


def trip(*steps: Step | Parallel, **changes: Any) -> SagaDefinition:
    words: dict[str, Any] = {"name": "trip", "version": 3, "data": TripData, "started_by": TripPlanned}
    return SagaDefinition(**{**words, "steps": steps or (HOLD, TICKETS), **changes})


BROKEN: list[tuple[str, Callable[[], SagaDefinition]]] = [
    (
        "its name must be lower case words joined by hyphens",
        lambda: trip(name="Round trip"),
    ),
    (
        "two steps have the same name",
        lambda: trip(HOLD, Step("hold-passports", action=BookHotel, compensation=CancelHotel), TICKETS),
    ),
    (
        "it has 0 pivots; exactly one step is the point of no return",
        lambda: trip(HOLD),
    ),
    (
        "it has 2 pivots; exactly one step is the point of no return",
        lambda: trip(TICKETS, Step("book-hotel", action=BookHotel, pivot=True)),
    ),
    (
        "the pivot must stand alone, not in a parallel group",
        lambda: trip(Parallel(TICKETS, Step("book-hotel", action=BookHotel))),
    ),
    (
        "step name 'Hold_Passports' must be lower case words joined by hyphens, and not 'close'",
        lambda: trip(Step("Hold_Passports", action=HoldPassports, compensation=ReturnPassports), TICKETS),
    ),
    (
        "step name 'hold~2' must be lower case words joined by hyphens, and not 'close'",
        lambda: trip(Step("hold~2", action=HoldPassports, compensation=ReturnPassports), TICKETS),
    ),
    (
        "step name 'close' must be lower case words joined by hyphens, and not 'close'",
        lambda: trip(Step(CLOSE, action=HoldPassports, compensation=ReturnPassports), TICKETS),
    ),
    (
        "step 'hold-passports' stands before the pivot and has no compensation",
        lambda: trip(Step("hold-passports", action=HoldPassports), TICKETS),
    ),
    (
        "step 'book-flight' stands before the pivot and has no compensation",
        lambda: trip(
            Parallel(
                Step("book-hotel", action=BookHotel, compensation=CancelHotel),
                Step("book-flight", action=BookFlight),
            ),
            TICKETS,
        ),
    ),
    (
        "step 'issue-tickets' stands at or after the pivot and cannot be compensated",
        lambda: trip(Step("issue-tickets", action=IssueTickets, compensation=CancelFlight, pivot=True)),
    ),
    (
        "step 'hold-passports' stands at or after the pivot and cannot be compensated",
        lambda: trip(TICKETS, HOLD),
    ),
    (
        "step 'upgrade': UpgradeSeat needs ['price', 'seat'], which its data does not have",
        lambda: trip(TICKETS, Step("upgrade", action=UpgradeSeat)),
    ),
    (
        "step 'hold-passports': UpgradeSeat needs ['price', 'seat'], which its data does not have",
        lambda: trip(Step("hold-passports", action=HoldPassports, compensation=UpgradeSeat), TICKETS),
    ),
    (
        "step 'issue-tickets' leaves no time until its deadline",
        lambda: trip(HOLD, Step("issue-tickets", action=IssueTickets, pivot=True, deadline=timedelta())),
    ),
    (
        "step 'hold-passports' leaves no time until its deadline",
        lambda: trip(
            Step(
                "hold-passports",
                action=HoldPassports,
                compensation=ReturnPassports,
                compensation_deadline=timedelta(seconds=-1),
            ),
            TICKETS,
        ),
    ),
    (
        "on_compensated needs ['price', 'seat'], which its data does not have",
        lambda: trip(on_compensated=UpgradeSeat),
    ),
    (
        "step 'reprice': Reprice wants ['trip_id'] of another type than its data has",
        lambda: trip(TICKETS, Step("reprice", action=Reprice)),
    ),
    (
        "on_compensated wants ['trip_id'] of another type than its data has",
        lambda: trip(on_compensated=Reprice),
    ),
    (
        "its data wants ['travellers'] of another type than TripPlanned tells",
        lambda: trip(data=NamedTravellers),
    ),
    (
        "TripPlanned does not tell ['stars'], which its data needs",
        lambda: trip(data=SurveyedTrip),
    ),
]


@pytest.mark.parametrize(("why", "define"), BROKEN, ids=[why[:50] for why, _ in BROKEN])
def test_a_broken_rule_is_named(why: str, define: Callable[[], SagaDefinition]) -> None:
    with pytest.raises(DefinitionError) as error:
        define()

    assert str(error.value).partition(" version 3: ")[2] == why
    assert str(error.value).startswith(("saga 'trip' version 3: ", "saga 'Round trip' version 3: "))


def test_the_reason_of_the_closing_command_comes_from_the_engine() -> None:
    assert "reason" not in {f.name for f in msgspec.structs.fields(TripData)}

    assert trip(on_compensated=CloseTrip).on_compensated is CloseTrip


def test_a_definition_knows_its_groups() -> None:
    assert [[step.name for step in group] for group in TRIP.groups] == [
        ["hold-passports"],
        ["book-flight", "book-hotel"],
        ["issue-tickets"],
        ["send-itinerary", "add-miles"],
    ]
    assert TRIP.pivot_at == 2
    assert TRIP.group_of("add-miles") == 3
    assert TRIP.by_name["book-hotel"].action is BookHotel


@pytest.mark.parametrize("definition", DEFINITIONS, ids=lambda d: d.name)
def test_every_wait_has_a_deadline(definition: SagaDefinition) -> None:
    for step in definition.by_name.values():
        assert timedelta() < step.deadline <= timedelta(hours=1)
        assert timedelta() < step.compensation_deadline <= timedelta(days=1)


def test_the_engine_is_told_of_all_that_starts_answers_or_turns_a_saga() -> None:
    wanted = events_of_interest({("trip", 1): TRIP})

    assert set(wanted) == {TripPlanned, TripCalledOff, Done, Refused, MessageDeadLettered}
    assert len(wanted) == len(set(wanted))


def test_the_shop_has_two_sagas() -> None:
    assert set(definitions()) == {("order-fulfilment", 1), ("order-return", 1)}
    assert latest("order-return").version == 1
    with pytest.raises(KeyError, match="'no-such-saga'"):
        latest("no-such-saga")


PACKAGE = """
import dataclasses
from tests.unit.sagas.trips import TRIP
{name} = dataclasses.replace(TRIP, version={version})
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / f"travel_sagas_{tmp_path.name.replace('-', '_')}"
    folder.mkdir()
    (folder / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    return folder


def test_every_file_of_a_package_is_found(package: Path, settings: Settings) -> None:
    (package / "trip_v2.py").write_text(PACKAGE.format(name="SECOND", version=2))
    (package / "trip_v3.py").write_text(PACKAGE.format(name="THIRD", version=3))
    settings.SAGA_DEFINITIONS = [*settings.SAGA_DEFINITIONS, package.name]

    # Past the cache: the routing of this process keeps what it knows.
    found = definitions.__wrapped__()

    assert {("trip", 2), ("trip", 3), ("order-fulfilment", 1)} <= set(found)


def test_two_definitions_cannot_share_name_and_version(package: Path, settings: Settings) -> None:
    (package / "trip.py").write_text(PACKAGE.format(name="ONE", version=7) + PACKAGE.format(name="OTHER", version=7))
    settings.SAGA_DEFINITIONS = [package.name]

    with pytest.raises(DefinitionError, match="saga 'trip' version 7 is defined twice"):
        definitions.__wrapped__()
