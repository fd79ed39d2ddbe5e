"""What a context needs to compare its rows with a ledger of the outside world: entries, verdicts, and what it keeps.

The tables live in the context's own database; it derives them from the abstract ones here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any, ClassVar, Protocol
from uuid import NAMESPACE_OID, UUID, uuid5

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

KEY_LENGTH = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What the outside world says it did under a key; `amount` in minor units, where it is about money."""

    kind: str
    key: str
    order_id: str
    at: datetime
    amount: int = 0
    currency: str = ""


class State(Enum):
    """What our rows say of an entry."""

    EXPLAINED = "explained"
    OPEN = "open"
    LATE = "late"
    WRONG = "wrong"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What our rows say of an entry, and what a person is told if it stays like that.

    OPEN may explain itself within the tolerance. LATE arrived after it was undone, and is taken back. WRONG never
    explains itself.
    """

    state: State
    finding: str = ""
    detail: str = ""


EXPLAINED = Verdict(State.EXPLAINED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """A row of ours that the ledger must know too, and what a person is told if it does not."""

    kind: str
    key: str
    order_id: str
    finding: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A disagreement that a person must settle. `finding` is its stable kind."""

    finding: str
    key: str
    order_id: str
    detail: str
    amount: int = 0
    currency: str = ""

    @property
    def subject(self) -> UUID:
        """The order, or an id made of what the ledger calls the order when that is none of ours."""
        try:
            return UUID(self.order_id)
        except ValueError:
            return uuid5(NAMESPACE_OID, self.order_id)


class TakingBackRefused(Exception):
    """The outside world refuses to take a late entry back."""


class LedgerMark(models.Model):
    """How far a ledger has been read: `entries_at` by the ledger's clock, `rows_at` of our own rows by ours."""

    objects: ClassVar[models.Manager[Any]] = models.Manager()

    ledger = models.CharField(primary_key=True, max_length=32)
    entries_at = models.DateTimeField(null=True)
    rows_at = models.DateTimeField(null=True)
    completed_at = models.DateTimeField(null=True)

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return self.ledger


class Sighting(models.Model):
    """An entry that our rows did not explain when it was seen; settled once they do, or once a person was told."""

    objects: ClassVar[models.Manager[Any]] = models.Manager()

    ledger = models.CharField(max_length=32)
    kind = models.CharField(max_length=32)
    key = models.CharField(max_length=KEY_LENGTH)
    order_id = models.CharField(max_length=KEY_LENGTH)
    amount = models.BigIntegerField(default=0)
    currency = models.CharField(max_length=3, blank=True)
    at = models.DateTimeField()
    seen_at = models.DateTimeField(db_default=Now())
    settled_at = models.DateTimeField(null=True)
    outcome = models.CharField(max_length=32, blank=True, db_default="")

    class Meta:
        abstract = True
        constraints = (models.UniqueConstraint(fields=("ledger", "kind", "key"), name="%(app_label)s_sighted_once"),)
        indexes = (
            models.Index(fields=("seen_at",), name="%(app_label)s_sighting_open", condition=Q(settled_at__isnull=True)),
        )

    def __str__(self) -> str:
        return f"{self.kind} {self.key}"

    @property
    def entry(self) -> Entry:
        """The entry as the ledger told it."""
        return Entry(
            kind=self.kind,
            key=self.key,
            order_id=self.order_id,
            at=self.at,
            amount=self.amount,
            currency=self.currency,
        )


class Mismatch(models.Model):
    """A disagreement that was put before a person, once and never again; its case says what became of it."""

    objects: ClassVar[models.Manager[Any]] = models.Manager()

    finding = models.CharField(max_length=32)
    key = models.CharField(max_length=KEY_LENGTH)
    order_id = models.CharField(max_length=KEY_LENGTH, db_index=True)
    detail = models.TextField()
    found_at = models.DateTimeField(db_default=Now())

    class Meta:
        abstract = True
        verbose_name_plural = "mismatches"
        constraints = (models.UniqueConstraint(fields=("finding", "key"), name="%(app_label)s_told_once"),)

    def __str__(self) -> str:
        return f"{self.finding} {self.key}"

    @classmethod
    def table(cls) -> str:
        """Return the name of the table."""
        return cls._meta.db_table


class Book(Protocol):
    """One ledger of the outside world, as the context that answers for it sees it.

    `read`, `read_orders`, `judge` and `take_back` may call the outside world: never while a transaction is open. They
    raise `TransientError` when it gives no answer.
    """

    name: str
    marks: ClassVar[type[LedgerMark]]
    sightings: ClassVar[type[Sighting]]
    mismatches: ClassVar[type[Mismatch]]

    def read(self, *, since: datetime | None, limit: int) -> Sequence[Entry]:
        """Return at most so many entries made at this time or later, oldest first; from the beginning if None."""

    def read_orders(self, *, order_ids: Sequence[str]) -> Sequence[Entry]:
        """Return all entries of these orders."""

    def judge(self, *, entries: Sequence[Entry]) -> list[Verdict]:
        """Return what our rows say of each entry, in order."""

    def take_back(self, *, entry: Entry) -> bool:
        """Undo a late entry by its key and record it. Safe to repeat; False when it had been undone and recorded.

        Raises: TakingBackRefused.
        """

    def recorded(self, *, since: datetime | None) -> Sequence[Recorded]:
        """Return what we recorded at this time or later and the ledger must know too."""

    def tell(self, *, found: Sequence[Found]) -> None:
        """Publish what a person must settle. The caller's transaction."""
