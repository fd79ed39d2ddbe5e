"""The story of an order in one order of time, whichever rooms its entries come from.

Every source gives its entries in order and as few as are asked for; merging them costs no more. So a page of an order
with thousands of attempts is as quick as any other, and the evidence, which has them all, needs little memory.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from uuid import UUID

from django.contrib.auth.models import AnonymousUser, User

from desk.timeline import coordination, traffic
from desk.timeline.shape import Entry, Reading
from desk.timeline.stories import STORIES, Story


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of entry: how it is called, its icon, who may see it, and where it comes from."""

    name: str
    title: str
    icon: str
    permissions: tuple[str, ...]
    read: Callable[[Reading], Iterable[Entry]]


def _rows_of(story: Story) -> Callable[[Reading], Iterable[Entry]]:
    def read(reading: Reading) -> Iterable[Entry]:
        told = story.entries(reading.order_id)
        return reading.sorted(
            Entry(at=one.at, kind=story.kind, what=one.what, detail=one.detail, rank=1, place=place)
            for place, one in enumerate(told)
        )

    return read


_ICONS = {
    "orders": "shopping_cart",
    "inventory": "inventory_2",
    "payments": "payments",
    "shipping": "local_shipping",
    "notifications": "mail",
}
KINDS = {
    kind.name: kind
    for kind in (
        *(Kind(story.kind, story.title, _ICONS[story.kind], story.permissions, _rows_of(story)) for story in STORIES),
        Kind(traffic.MESSAGE, "Messages", "forum", ("outbox.view_message",), traffic.messages),
        Kind(traffic.CALL, "Gateway calls", "call_made", ("outbox.view_gatewaycall",), traffic.calls),
        Kind(traffic.ATTEMPT, "Failed attempts", "error", ("outbox.view_attempt",), traffic.attempts),
        Kind(traffic.DELIVERY, "Still waiting", "outbox", ("outbox.view_delivery",), traffic.deliveries),
        Kind(coordination.SAGA, "Sagas and steps", "account_tree", ("sagas.view_sagainstance",), coordination.sagas),
        Kind(coordination.CASE, "Cases", "assignment_late", ("sagas.view_case",), coordination.cases),
        Kind(coordination.NOTE, "Notes", "sticky_note_2", ("sagas.view_casenote",), coordination.notes),
        Kind(coordination.OPERATOR, "People", "person", ("sagas.view_operatoraction",), coordination.actions),
        Kind(coordination.APPROVAL, "Approvals", "how_to_reg", ("sagas.view_approval",), coordination.approvals),
    )
}


def visible_kinds(user: User | AnonymousUser) -> list[Kind]:
    """Return the kinds of entries that a person may see, in the order of the table."""
    return [kind for kind in KINDS.values() if user.has_perms(kind.permissions)]


def whole_story(order_id: UUID) -> Iterator[Entry]:
    """Return every entry of every kind, oldest first, read as it goes along. In a transaction of the caller."""
    return _merged(KINDS.values(), Reading(order_id=order_id))


def part(
    *, order_id: UUID, kinds: Collection[Kind], skip: int, count: int, newest_first: bool = False
) -> tuple[list[Entry], bool]:
    """Return so many entries of these kinds past the first `skip` of them, and whether there are more."""
    # One more than is shown tells whether there are more.
    reading = Reading(order_id=order_id, newest_first=newest_first, limit=skip + count + 1)
    found = list(islice(_merged(kinds, reading), skip, skip + count + 1))
    return found[:count], len(found) > count


def _merged(kinds: Iterable[Kind], reading: Reading) -> Iterator[Entry]:
    sources = [kind.read(reading) for kind in kinds]
    return heapq.merge(*sources, key=lambda entry: entry.position, reverse=reading.newest_first)
