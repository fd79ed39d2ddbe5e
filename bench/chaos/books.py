"""What a flow says of its own orders, in a form that one oracle can judge."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

_TIMEOUT_SECONDS = 30.0


@dataclass(frozen=True, kw_only=True)
class Booked:
    """An order as the flow's own tables have it; seconds from its placing to its end, if it has ended.

    `needs_person` says that an open case tells somebody of it; `failed` that something went wrong on its way.
    """

    id: str
    status: str
    amount: int
    items: Mapping[str, int]
    held: Mapping[str, int]
    needs_person: bool
    failed: bool
    seconds: float | None


@dataclass(frozen=True, kw_only=True)
class Shelf:
    """The stock of one product."""

    sku: str
    on_hand: int
    loaded: int


@dataclass(frozen=True, kw_only=True)
class Books:
    """Everything that a flow has written down."""

    orders: Sequence[Booked]
    shelves: Sequence[Shelf]


@dataclass(frozen=True, kw_only=True)
class Ledgers:
    """What the bank and the carrier have written down."""

    bank: Sequence[Mapping[str, Any]]
    carrier: Sequence[Mapping[str, Any]]

    @classmethod
    def read(cls, *, outside_url: str) -> Ledgers:
        """Ask both."""

        def ask(whose: str) -> Sequence[Mapping[str, Any]]:
            answer = httpx.get(f"{outside_url}/{whose}/ledger", timeout=_TIMEOUT_SECONDS)
            entries: list[dict[str, Any]] = answer.raise_for_status().json()
            return entries

        return cls(bank=ask("bank"), carrier=ask("carrier"))


ReadBooks = Callable[[], Books]
