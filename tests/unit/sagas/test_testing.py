"""The language that other teams test their sagas with says clearly what is wrong."""

import re
from collections.abc import Callable
from uuid import UUID

import pytest

from outbox.contracts import MessageDeadLettered
from sagas.inputs import Abandon, RetryStuck
from sagas.testing import BEGIN, ORDER_ID, Story, StoryBroken, given, sample
from tests.unit.sagas.trips import (
    TRIP,
    AddMiles,
    BookFlight,
    BookHotel,
    CancelFlight,
    Done,
    HoldPassports,
    IssueTickets,
    TripCalledOff,
    TripPlanned,
)


@pytest.fixture
def story() -> Story:
    return given(TRIP).started_by(sample(TripPlanned, travellers=2))


def test_a_broken_story_shows_how_far_it_came(story: Story) -> None:
    story.expect(HoldPassports).answer(sample(Done))

    with pytest.raises(StoryBroken) as broken:
        story.expect(IssueTickets, step="issue-tickets")

    assert str(broken.value) == (
        "expected action IssueTickets for step 'issue-tickets', "
        "but the saga sent BookFlight (book-flight), BookHotel (book-hotel)\n"
        "\n"
        "the story so far:\n"
        "  TripPlanned starts trip\n"
        "  → HoldPassports (hold-passports)\n"
        "  ← Done (hold-passports)\n"
        "  the saga is RUNNING\n"
        "    hold-passports: SUCCEEDED\n"
        "    book-flight: RUNNING\n"
        "    book-hotel: RUNNING\n"
        "    issue-tickets: PENDING\n"
        "    send-itinerary: PENDING\n"
        "    add-miles: PENDING"
    )


def in_parallel(story: Story) -> Story:
    return story.reach("book-flight")


BROKEN: list[tuple[Callable[[Story], object], str]] = [
    (lambda s: s.expect_nothing(), "expected nothing, but the saga sent HoldPassports (hold-passports)"),
    (lambda s: s.cancel("why"), "'cancelled: why' comes before the story expects HoldPassports (hold-passports)"),
    (lambda s: s.answer(sample(Done)), "Done answers no command that was expected"),
    (lambda s: s.dead_letter(), "a dead letter answers no command that was expected"),
    (lambda s: s.expect(AddMiles), "expected action AddMiles, but the saga sent HoldPassports (hold-passports)"),
    (
        lambda s: s.expect_compensation(HoldPassports),
        "expected compensation HoldPassports, but the saga sent HoldPassports (hold-passports)",
    ),
    (
        lambda s: s.expect(HoldPassports(trip_id=UUID(int=9))),
        f"expected action {HoldPassports(trip_id=UUID(int=9))}, but the saga sent HoldPassports (hold-passports)",
    ),
    (lambda s: s.expect(HoldPassports).expect(AddMiles), "expected action AddMiles, but the saga sent nothing"),
    (
        lambda s: in_parallel(s).answer(sample(Done)),
        "Done answers one of BookFlight (book-flight), BookHotel (book-hotel); say which with to=… or step=…",
    ),
    (lambda s: s.settle().deadline_passes(), "no deadline can pass: no step is in flight"),
    (lambda s: s.reach("nowhere"), "step 'nowhere' is never reached"),
    (
        lambda s: s.expect(HoldPassports).operator(RetryStuck()),
        "the operator's RetryStuck was refused: nothing is stuck: the saga is RUNNING",
    ),
    (
        lambda s: s.settle().expect_refused(Abandon(), "no money"),
        "expected Abandon to be refused with 'no money', but it was: the saga has ended: COMPLETED",
    ),
    (lambda s: s.expect_refused(Abandon(), "ended"), "expected Abandon to be refused, but it was accepted"),
    (lambda s: s.reach("book-hotel").expect_stuck("book-hotel"), "expected ['book-hotel'] to be stuck, but it is []"),
    (
        lambda s: s.expect(HoldPassports).expect_step("add-miles", "RUNNING"),
        "expected step 'add-miles' to be RUNNING, but it is PENDING",
    ),
    (
        lambda s: s.settle().expect_ended("COMPENSATED"),
        "expected the saga to end COMPENSATED, but it is COMPLETED",
    ),
    (lambda s: s.settle().expect_ended("COMPLETED", reason="why"), "expected reason 'why', but it is ''"),
]


@pytest.mark.parametrize(("tell", "why"), BROKEN, ids=[why[:40] for _, why in BROKEN])
def test_each_way_to_break_a_story_says_why(story: Story, tell: Callable[[Story], object], why: str) -> None:
    with pytest.raises(StoryBroken, match=f"^{re.escape(why)}\n\nthe story so far:\n  TripPlanned starts trip"):
        tell(story)


def test_a_story_begins_with_the_right_event() -> None:
    with pytest.raises(StoryBroken, match="the saga has not started; say `started_by"):
        given(TRIP).settle()

    with pytest.raises(StoryBroken, match="trip starts with TripPlanned, not with TripCalledOff"):
        given(TRIP).started_by(sample(TripCalledOff))


def test_commands_sent_side_by_side_come_in_any_order(story: Story) -> None:
    story.expect(HoldPassports).answer(sample(Done))

    story.expect(BookHotel).expect(BookFlight)

    story.answer(sample(Done), step="book-hotel").expect_nothing().answer(sample(Done)).expect(IssueTickets)


def test_an_answer_can_be_told_by_its_command(story: Story) -> None:
    story.reach("book-flight").cancel("rain").expect_compensation(CancelFlight).expect_anything()

    story.answer(sample(Done), to=BookFlight).expect_step("book-flight", "COMPENSATING")

    story.answer(sample(Done), to=CancelFlight).expect_step("book-flight", "COMPENSATED")


def test_a_sample_says_nothing_in_particular() -> None:
    assert sample(TripPlanned) == TripPlanned(trip_id=ORDER_ID, travellers=1)
    assert sample(TripPlanned, travellers=3, trip_id=UUID(int=5)) == TripPlanned(trip_id=UUID(int=5), travellers=3)
    assert sample(MessageDeadLettered).message_kind in ("command", "event")
    assert BEGIN.tzinfo is not None
