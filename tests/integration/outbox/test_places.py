"""How far the outbox is with the place that a key names, and how a command that rests is made due."""

from datetime import timedelta
from uuid import UUID

import pytest
from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now
from uuid_utils.compat import uuid7

from outbox.contracts import COMPENSATION
from outbox.models import Delivery
from outbox.places import Standing, hasten, place_of, standings
from outbox.transactions import OutsideTransaction
from tests.messaging import Act, Bank, Undo, Wiring, drain, rest_of, say

pytestmark = pytest.mark.django_db(transaction=True, available_apps=["outbox"])

ORDER, SAGA = uuid7(), uuid7()
KEY = f"{ORDER}-{SAGA}-act"


@pytest.fixture
def acting(wiring: Wiring) -> Bank:
    """Return the outside world of a consumer that acts and undoes."""
    bank = Bank()
    wiring.consumer({Act: bank.effectful(), Undo: bank.effectful()})
    return bank


def ask() -> UUID:
    (message_id,) = say(Act(number=7), key=ORDER, saga_id=SAGA, step="act")
    return message_id


def undo(step: str = "act") -> None:
    say(Undo(), key=ORDER, saga_id=SAGA, step=step, direction=COMPENSATION)


def standing(key: str = KEY) -> Standing | None:
    return standings(keys=[key], consumer="tester").get(key)


@pytest.mark.usefixtures("acting")
def test_what_was_never_asked_stands_nowhere() -> None:
    assert standing() == Standing()
    assert standing("by-hand") is None


@pytest.mark.usefixtures("acting")
def test_a_command_waits_until_it_is_settled_and_is_undone_when_its_compensation_is() -> None:
    ask()
    asked = standing()
    drain()
    done = standing()
    undo()
    turning = standing()
    drain()
    undone = standing()

    assert asked == Standing(is_waiting=True, is_busy=True, command={"number": 7})
    assert done == Standing(command={"number": 7})
    assert turning == Standing(is_waiting=True, is_busy=True, command={"number": 7})
    assert undone == Standing(is_undone=True, command={"number": 7})


@pytest.mark.usefixtures("acting")
def test_any_attempt_of_an_operator_undoes_the_one_step() -> None:
    ask()
    drain()
    undo("act~2")
    drain()

    assert standing() == Standing(is_undone=True, command={"number": 7})


@pytest.mark.usefixtures("acting")
def test_a_dead_command_has_a_person_and_keeps_its_order_busy_no_longer() -> None:
    ask()
    Delivery.objects.update(dead_at=Now())

    assert standing() == Standing(is_waiting=True, command={"number": 7})


@pytest.mark.usefixtures("acting")
@pytest.mark.parametrize(
    ("changes", "is_hastened"),
    [({}, True), ({"token": uuid7()}, False), ({"dead_at": Now()}, False)],
    ids=["resting", "claimed", "dead"],
)
def test_only_a_command_that_rests_is_made_due(changes: dict[str, object], is_hastened: bool) -> None:
    message_id = ask()
    Delivery.objects.update(available_at=Now() + timedelta(hours=1), **changes)
    place = place_of(KEY)
    assert place is not None

    with transaction.atomic():
        found = hasten(place=place, consumer="tester")

    assert found is is_hastened
    assert (rest_of(message_id) <= timedelta()) is is_hastened


@pytest.mark.usefixtures("acting")
def test_another_step_is_not_made_due() -> None:
    message_id = ask()
    Delivery.objects.update(available_at=F("available_at") + timedelta(hours=1))
    other = place_of(f"{ORDER}-{SAGA}-another")
    assert other is not None

    with transaction.atomic():
        found = hasten(place=other, consumer="tester")

    assert not found
    assert rest_of(message_id) > timedelta()


def test_a_command_is_made_due_with_the_change_that_says_why() -> None:
    place = place_of(KEY)
    assert place is not None

    with pytest.raises(OutsideTransaction):
        hasten(place=place, consumer="tester")
