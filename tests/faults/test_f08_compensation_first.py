"""F08: a compensation that comes before its action, twice, or for a step that never ran, succeeds and blocks it.

Every pair of every definition goes through the real contexts and relays; a new step is covered when it is written.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

import msgspec
import pytest
from django.db import transaction
from pytest_django import Settings
from uuid_utils.compat import uuid7

from inventory.models import Reservation
from outbox.contracts import ACTION, COMPENSATION, Command, Direction
from outbox.models import Attempt
from outbox.publishing import Outgoing, publish
from payments.gateways.instant import InstantGateway
from payments.models import Payment, Refund
from sagas.definition import Step, definitions
from shipping.carriers.instant import InstantCarrier
from shipping.models import Shipment
from tests.factories.inventory import levels, stocked
from tests.factories.orders import told
from tests.factories.plays import Play
from tests.messaging import drain, execute, refill_bucket, waiting

pytestmark = pytest.mark.django_db(transaction=True)

PAIRS = [
    pytest.param(step, id=f"{name}-{version}-{step.name}")
    for (name, version), definition in definitions().items()
    for step in definition.by_name.values()
    if step.compensation is not None
]


class Outside:
    """What the outside world was asked to do."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.done: list[str] = []
        for whose, name in ((InstantGateway, "charge"), (InstantCarrier, "create")):
            self._watch(patch, whose, name)

    def _watch(self, patch: pytest.MonkeyPatch, whose: type, name: str) -> None:
        real = getattr(whose, name)

        def noted(this: Any, request: Any) -> Any:
            self.done.append(name)
            return real(this, request)

        patch.setattr(whose, name, noted)


class Pair:
    """A step of one saga of one order, whose commands the test sends in whatever order it likes."""

    def __init__(self, step: Step) -> None:
        play = Play()
        self.order_id, self.saga_id, self.step = play.order_id, uuid7(), step
        self._data = msgspec.to_builtins(play.created())

    def act(self) -> UUID:
        return self._send(self.step.action, ACTION)

    def undo(self) -> UUID:
        assert self.step.compensation is not None
        return self._send(self.step.compensation, COMPENSATION)

    def answers(self) -> list[str]:
        """Return what was said of the order, but for the commands."""
        assert self.step.compensation is not None
        commands = {self.step.action.wire_type, self.step.compensation.wire_type}
        return [wire_type for wire_type in told(self.order_id) if wire_type not in commands]

    def _send(self, command: type[Command], direction: Direction) -> UUID:
        with transaction.atomic():
            [message_id] = publish(
                [
                    Outgoing(
                        data=msgspec.convert(self._data, command),
                        source="sagas",
                        subject=self.order_id,
                        correlation_id=self.saga_id,
                        step=self.step.name,
                        direction=direction,
                    )
                ]
            )
        return message_id


@pytest.fixture
def outside(transactional_db: None, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Outside:
    """Put ten mugs on hand, and watch bank and carrier."""
    settings.PAYMENT_GATEWAY = settings.CARRIER = "instant"
    settings.COMPENSATIONS_PER_SECOND = 100_000
    refill_bucket()
    stocked("MUG", on_hand=10)
    return Outside(monkeypatch)


def nothing_is_kept() -> bool:
    """Tell whether no room has anything of the order."""
    return (
        levels("MUG") == (10, 0)
        and not Reservation.objects.filter(status="held").exists()
        and not Payment.objects.filter(status="charged").exists()
        and not Shipment.objects.filter(status="created").exists()
    )


@pytest.mark.parametrize("step", PAIRS)
def test_f08_a_compensation_that_comes_first_succeeds_and_the_action_does_nothing(outside: Outside, step: Step) -> None:
    """The action is only late: it finds its place taken, answers nothing, and asks nobody outside."""
    pair = Pair(step)
    assert step.compensation is not None

    pair.undo()
    drain()
    pair.act()
    drain()

    assert pair.answers() == [step.compensation.success.wire_type]
    assert outside.done == []
    assert nothing_is_kept()
    assert waiting() == []


@pytest.mark.parametrize("step", PAIRS)
def test_f08_a_compensation_of_a_step_that_never_ran_succeeds_however_often_it_comes(
    outside: Outside, step: Step
) -> None:
    """Three commands, and three copies of each on the way: one answer."""
    pair = Pair(step)
    assert step.compensation is not None

    for _ in range(3):
        pair.undo()
    _deliver_thrice()
    drain()

    assert pair.answers() == [step.compensation.success.wire_type]
    assert nothing_is_kept()
    assert waiting() == []


@pytest.mark.parametrize("step", PAIRS)
def test_f08_a_compensation_that_comes_twice_undoes_once(outside: Outside, step: Step) -> None:
    """What was done is undone, once, and stays undone when the action comes again."""
    pair = Pair(step)
    assert step.compensation is not None
    pair.act()
    drain()
    assert not nothing_is_kept()

    pair.undo()
    pair.undo()
    _deliver_thrice()
    drain()
    pair.act()
    drain()

    assert pair.answers() == [step.action.success.wire_type, step.compensation.success.wire_type]
    assert nothing_is_kept()
    assert Refund.objects.count() == (1 if step.name == "charge-payment" else 0)
    assert waiting() == []


@pytest.mark.parametrize("step", PAIRS)
def test_f08_a_compensation_right_behind_its_action_leaves_nothing(outside: Outside, step: Step) -> None:
    """Both wait in the queue when the relay comes: the action is undone, or does not even begin."""
    pair = Pair(step)
    assert step.compensation is not None

    pair.act()
    pair.undo()
    drain()

    assert pair.answers()[-1] == step.compensation.success.wire_type
    assert nothing_is_kept()
    assert waiting() == []
    assert not Attempt.objects.exclude(decision="withdrawn").exists()


def _deliver_thrice() -> None:
    """Add two copies of every delivery that waits, as a network does that repeats itself."""
    for _ in range(2):
        execute(
            "INSERT INTO outbox_delivery (message_id, message_time, destination, lane, kind, type, ordering_key) "
            "SELECT DISTINCT message_id, message_time, destination, lane, kind, type, ordering_key FROM outbox_delivery"
        )
