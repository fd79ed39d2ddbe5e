"""Two inserts settle duplicate, empty and late commands, for joined and effectful handlers alike."""

from collections.abc import Callable
from typing import Any

import pytest
from uuid_utils.compat import uuid7

from outbox.consumers import Handler, TransientError
from outbox.contracts import ACTION, COMPENSATION, Envelope
from outbox.models import BarrierEntry, Message
from tests.messaging import Act, Acted, Bank, Clerk, Undo, Undone, Wiring, drain, execute, make_due, say, waiting

pytestmark = pytest.mark.django_db(transaction=True, available_apps=["outbox"])


class Participant:
    """A consumer that takes an action and its compensation, in either way, and remembers what it did."""

    def __init__(self, wiring: Wiring, *, effectful: bool) -> None:
        self.done: list[str] = []
        self.saga_id = uuid7()
        self.order_id = uuid7()
        make: Callable[[], Handler] = self._effectful if effectful else self._joined
        wiring.consumer({Act: make(), Undo: make()})

    def act(self, step: str = "act") -> None:
        """Let the action arrive."""
        say(Act(), key=self.order_id, saga_id=self.saga_id, step=step, direction=ACTION)

    def undo(self, step: str = "act") -> None:
        """Let the compensation arrive."""
        say(Undo(), key=self.order_id, saga_id=self.saga_id, step=step, direction=COMPENSATION)

    def answers(self) -> list[str]:
        """Return the replies so far."""
        said = Message.objects.filter(ordering_key=self.order_id, kind="event").order_by("sequence")
        return list(said.values_list("type", flat=True))

    def _joined(self) -> Handler:
        return Clerk(self._do).joined()

    def _effectful(self) -> Handler:
        bank = Bank()
        bank.outcome = lambda envelope, _: self._do(envelope)
        return bank.effectful()

    def _do(self, envelope: Envelope[Any]) -> Acted | Undone:
        is_action = isinstance(envelope.data, Act)
        self.done.append("act" if is_action else "undo")
        return Acted() if is_action else Undone()


@pytest.fixture(params=["joined", "effectful"])
def participant(wiring: Wiring, request: pytest.FixtureRequest) -> Participant:
    return Participant(wiring, effectful=request.param == "effectful")


def test_an_action_is_done_and_undone(participant: Participant) -> None:
    participant.act()
    drain()
    participant.undo()
    drain()

    assert participant.done == ["act", "undo"]
    assert participant.answers() == ["test.acted", "test.undone"]


def test_a_late_action_finds_its_place_taken(participant: Participant) -> None:
    """The compensation of a step that never ran succeeds, and blocks the action that comes after it."""
    participant.undo()
    drain()
    participant.act()
    drain()
    make_due()
    drain()

    assert participant.done == ["undo"]
    assert participant.answers() == ["test.undone"]
    assert waiting() == []
    places = BarrierEntry.objects.filter(saga_id=participant.saga_id).values_list("step", "direction")
    assert set(places) == {("act", "action"), ("act", "compensation")}


def test_a_second_command_for_the_same_step_does_nothing(participant: Participant) -> None:
    for arrive in (participant.act, participant.act, participant.undo, participant.undo, participant.act):
        arrive()
        drain()

    assert participant.done == ["act", "undo"]
    assert participant.answers() == ["test.acted", "test.undone"]


def test_the_steps_of_a_saga_do_not_block_each_other(participant: Participant) -> None:
    participant.undo(step="another")
    drain()
    participant.act()
    drain()

    assert participant.done == ["undo", "act"]


def test_a_new_generation_of_a_step_has_places_of_its_own(participant: Participant) -> None:
    participant.act()
    drain()
    participant.act(step="act~2")
    drain()

    assert participant.done == ["act", "act"]


def test_two_sagas_of_one_order_do_not_block_each_other(participant: Participant) -> None:
    participant.undo()
    drain()
    participant.saga_id = uuid7()
    participant.act()
    drain()

    assert participant.done == ["undo", "act"]


@pytest.mark.parametrize(("effectful", "done"), [(False, ["act", "undo"]), (True, ["undo"])])
def test_many_of_both_end_as_one_action_at_most_and_one_compensation(
    wiring: Wiring, effectful: bool, done: list[str]
) -> None:
    participant = Participant(wiring, effectful=effectful)
    for _ in range(3):
        participant.act()
        participant.undo()

    drain()

    assert participant.done == done
    assert waiting() == []


def test_a_command_outside_any_saga_has_its_inbox_instead(wiring: Wiring) -> None:
    clerk = Clerk(lambda _: Acted())
    wiring.consumer({Act: clerk.joined()})
    [message_id] = say(Act(number=1))
    drain()
    execute(
        "INSERT INTO outbox_delivery (message_id, message_time, destination, lane, kind, type, ordering_key)"
        " SELECT id, time, 'tester', 'relay', kind, type, ordering_key FROM outbox_message WHERE id = %s",
        message_id,
    )

    drain()

    assert clerk.numbers == [1]
    assert waiting() == []


def test_an_action_that_timed_out_keeps_its_place_and_its_compensation_runs(wiring: Wiring) -> None:
    """The outcome of the call is unknown: the compensation must be carried out all the same."""
    calls: list[str] = []

    def behave(envelope: Envelope[Any]) -> str:
        calls.append(envelope.data.wire_type)
        if isinstance(envelope.data, Act):
            raise TransientError("no answer")
        return "undone"

    bank = Bank(behave)
    wiring.consumer({Act: bank.effectful(), Undo: bank.effectful()})
    order_id, saga_id = uuid7(), uuid7()
    say(Act(), key=order_id, saga_id=saga_id, step="act")
    drain()
    say(Undo(), key=order_id, saga_id=saga_id, step="act", direction=COMPENSATION)
    make_due()
    drain()

    assert calls == ["test.act", "test.undo"]
    assert waiting() == []
