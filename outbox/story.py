"""How a context tells what its own rows know of an order: plain entries, which the desk puts in one order of time."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One thing that a row tells: when, what in a few words, and the rest as plain values.

    Amounts are minor units, beside their currency. Nothing in it is about a person.
    """

    at: datetime
    what: str
    detail: dict[str, Any] = field(default_factory=dict)
