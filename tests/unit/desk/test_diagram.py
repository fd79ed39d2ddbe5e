"""The diagram of a saga: every state has a color, a sign and a word, and all of it is told in words too."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4
from xml.etree import ElementTree as ET

import pytest

from desk.timeline.diagram import HEIGHT, WIDTH, draw
from desk.timeline.picture import Box, Column, Mark, Picture, picture_of
from outbox.history import Leg
from sagas.models import SagaInstance

SAGA = UUID("01a20ee1-3e3d-7419-acbf-142a5acc36bc")
NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
SVG = "{http://www.w3.org/2000/svg}"


def saga(status: str = "RUNNING", *, name: str = "order-fulfilment", version: int = 1, **steps: Any) -> SagaInstance:
    """Return a saga whose steps are as given, and otherwise not begun; names with underscores."""
    known = ("reserve_inventory", "charge_payment", "create_shipment", "confirm_order")
    states = {step.replace("_", "-"): steps.get(step, {}) for step in {**dict.fromkeys(known), **steps}}
    return SagaInstance(
        pk=SAGA, key=uuid4(), name=name, version=version, status=status, steps=states, data={}, started_at=NOW
    )


def leg(step: str, direction: str = "action", answer: str | None = None, failed: int = 0, seconds: float = 2.0) -> Leg:
    ended_at = NOW + timedelta(seconds=seconds) if answer else None
    return Leg(SAGA, step, direction, NOW, ended_at, answer, failed)


def done() -> dict[str, str]:
    return {"status": "SUCCEEDED"}


def undone(status: str) -> dict[str, str]:
    return {"status": status, "direction": "compensation"}


def marks(picture: Picture) -> tuple[list[Mark], list[Mark | None]]:
    """Return the states of the way forward and of the way back, by step."""
    forward = [box.mark for column in picture.columns for box in column.forward]
    back = [box.mark if box else None for column in picture.columns for box in column.backward]
    return forward, back


def test_a_saga_on_its_way() -> None:
    picture = picture_of(saga(reserve_inventory=done(), charge_payment={"status": "RUNNING"}), [])

    forward, back = marks(picture)
    assert forward == [Mark.DONE, Mark.RUNNING, Mark.IDLE, Mark.IDLE]
    assert back == [Mark.IDLE, Mark.IDLE, Mark.IDLE, None]
    assert picture.closing is not None
    assert picture.closing.mark is Mark.SPARED
    assert [box.is_pivot for column in picture.columns for box in column.forward] == [False, False, False, True]


def test_a_saga_at_its_good_end_needs_no_way_back() -> None:
    steps: dict[str, Any] = {
        name: done() for name in ("reserve_inventory", "charge_payment", "create_shipment", "confirm_order")
    }

    forward, back = marks(picture_of(saga("COMPLETED", **steps), []))

    assert forward == [Mark.DONE] * 4
    assert back == [Mark.SPARED, Mark.SPARED, Mark.SPARED, None]


def test_a_saga_on_its_way_back() -> None:
    turned = saga(
        "SUSPENDED",
        reserve_inventory=done(),
        charge_payment=undone("STUCK"),
        create_shipment={"status": "FAILED", "error": "shipping_refused"},
    )
    legs = [
        leg("charge-payment", answer="payment.charged", failed=1),
        leg("charge-payment", "compensation", failed=5),
        leg("charge-payment~2", "compensation", failed=2),
    ]

    picture = picture_of(turned, legs)

    forward, back = marks(picture)
    assert forward == [Mark.DONE, Mark.DONE, Mark.FAILED, Mark.IDLE]
    assert back == [Mark.TO_UNDO, Mark.STUCK, Mark.SPARED, None]
    assert picture.columns[1].forward[0].note == "2.0 s, 1 failed try"
    assert picture.columns[1].backward[0] == Box(
        "undo charge-payment", "payment.refund", Mark.STUCK, note="7 failed tries"
    )
    assert picture.closing is not None
    assert picture.closing.mark is Mark.IDLE


def test_a_call_without_an_answer_is_an_unknown_outcome_even_once_it_is_undone() -> None:
    turned = saga("COMPENSATED", reserve_inventory=undone("COMPENSATED"), charge_payment=undone("COMPENSATED"))
    legs = [leg("reserve-inventory", answer="inventory.reserved"), leg("charge-payment", answer="payment.failed")]

    forward, back = marks(picture_of(turned, legs))

    assert forward[:2] == [Mark.DONE, Mark.UNKNOWN]
    assert back[:2] == [Mark.UNDONE, Mark.UNDONE]


def test_legs_of_another_saga_of_the_order_do_not_count() -> None:
    other = Leg(uuid4(), "charge-payment", "action", NOW, NOW, "payment.charged", 9)

    picture = picture_of(saga(charge_payment={"status": "RUNNING"}), [other])

    assert picture.columns[1].forward[0].note == ""


@pytest.mark.parametrize(
    ("status", "expected"),
    [("SKIPPED", Mark.SKIPPED), ("RESOLVED", Mark.RESOLVED), ("COMPENSATING", Mark.UNDOING), ("STUCK", Mark.STUCK)],
)
def test_what_people_did_is_drawn(status: str, expected: Mark) -> None:
    picture = picture_of(saga("COMPENSATING", charge_payment=undone(status)), [])

    assert marks(picture)[1][1] is expected


def test_a_version_that_this_release_does_not_know_is_drawn_from_its_row() -> None:
    unknown = saga(version=99, reserve_inventory=done(), charge_payment=undone("COMPENSATING"))

    picture = picture_of(unknown, [])

    names = [box.name for column in picture.columns for box in column.forward]
    assert set(names) == {"reserve-inventory", "charge-payment", "create-shipment", "confirm-order"}
    assert "command unknown to this release" in picture.description


def test_the_words_tell_the_whole_diagram() -> None:
    picture = picture_of(saga("SUSPENDED", charge_payment={**undone("STUCK"), "error": "no <money>"}), [])

    assert picture.title == "Saga order-fulfilment version 1: SUSPENDED"
    assert "undo charge-payment (payment.refund): stuck: needs a person, no <money>." in picture.description
    assert picture_of(saga(), []).description.endswith("It has not turned back.")


def parallel() -> Picture:
    """Return a saga with two steps side by side."""
    box = Box("a-step-with-a-name-that-is-too-long", "a.command", Mark.DONE, note="1.0 s")
    group = Column((box, box), (box, None))
    return Picture("parallel", "RUNNING", "a.event", (Column((box,), (box,)), group), box, has_turned=True)


@pytest.mark.parametrize("is_upright", [False, True])
@pytest.mark.parametrize("picture", [parallel(), picture_of(saga(), [])], ids=["parallel", "usual"])
def test_nothing_overlaps_and_nothing_sticks_out(picture: Picture, is_upright: bool) -> None:
    root = ET.fromstring(draw(picture, name="s", is_upright=is_upright))  # noqa: S314 - our own

    _, _, width, height = map(float, root.attrib["viewBox"].split())
    boxes = [
        (float(r.attrib["x"]), float(r.attrib["y"]), float(r.attrib["x"]) + WIDTH, float(r.attrib["y"]) + HEIGHT)
        for r in root.iter(f"{SVG}rect")
        if r.attrib["height"] == str(HEIGHT)
    ]
    wanted = [box for column in picture.columns for box in (*column.forward, *column.backward) if box]
    assert len(boxes) == len(wanted) + 1
    for left, top, right, bottom in boxes:
        assert left >= 0
        assert top >= 0
        assert right <= width
        assert bottom <= height
    for i, one in enumerate(boxes):
        for other in boxes[i + 1 :]:
            assert one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]
    assert (width <= 390) is is_upright


def test_a_state_is_told_by_color_sign_and_word() -> None:
    drawn = {}
    for mark in Mark:
        picture = Picture("p", "RUNNING", "e", (Column((Box("s", "c", mark),), (None,)),), None, has_turned=False)
        root = ET.fromstring(draw(picture, name="s"))  # noqa: S314
        group = next(g for g in root.iter(f"{SVG}g") if "desk-box" in g.attrib["class"])
        word = [text.text for text in group.iter(f"{SVG}text") if text.attrib["class"] == "desk-box-word"]
        drawn[mark] = group.attrib["class"]
        assert word == [mark.value]
        assert len(list(group.iter(f"{SVG}path"))) == 1
    assert len(set(drawn.values())) == len(Mark)


def test_it_is_an_image_with_title_and_description_and_holds_no_markup_of_others() -> None:
    picture = picture_of(saga("SUSPENDED", charge_payment={**undone("STUCK"), "error": "<script>x</script>"}), [])

    svg = draw(picture, name="saga-1")

    root = ET.fromstring(svg)  # noqa: S314
    assert root.attrib["role"] == "img"
    assert root.attrib["aria-labelledby"] == "saga-1-lying-title saga-1-lying-desc"
    ids = {element.attrib["id"] for element in root if "id" in element.attrib}
    assert ids == {"saga-1-lying-title", "saga-1-lying-desc"}
    assert "<script>" not in svg
    assert not re.search(r"\bstyle=|\bon[a-z]+=", svg)
