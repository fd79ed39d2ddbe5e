"""What payments needs of a gateway, whoever it is: calls are named by a key, and can be looked up by it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, TypeAlias
from uuid import UUID

from outbox.consumers import TransientError
from outbox.ledgers import Entry


@dataclass(frozen=True, slots=True, kw_only=True)
class ChargeRequest:
    """Take this amount (minor units) for an order."""

    key: str
    order_id: UUID
    amount: int
    currency: str
    payment_method: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ChargeMade:
    """The money was taken; `reference` is the gateway's own id of the charge."""

    gateway: str
    key: str
    amount: int
    currency: str
    reference: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ChargeDeclined:
    """No money was taken, and asking again with this key would not change that."""

    gateway: str
    key: str
    code: str
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundRequest:
    """Give back this amount (minor units) of the charge with the key `charge_key`."""

    key: str
    charge_key: str
    order_id: UUID
    amount: int
    currency: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RefundMade:
    """The money was given back; `reference` is the gateway's own id of the refund."""

    key: str
    reference: str


ChargeAnswer: TypeAlias = ChargeMade | ChargeDeclined


class RefundRefused(TransientError):
    """The gateway refuses the refund for now; it may be asked again, and in the end a person has to."""


class Gateway(Protocol):
    """A bank or payment provider.

    Every method calls the outside world: none may be called while a transaction is open. Each raises
    `NothingDone` when the gateway is away, `TransientError` when there was no answer in time (what was asked
    may have been done, or may yet be done), and `UnforeseenAnswer` for an answer that makes no sense.
    """

    name: str
    # Whether `entries` tells of everything: what remembers nothing cannot be compared with.
    keeps_ledger: bool

    def charge(self, request: ChargeRequest) -> ChargeAnswer:
        """Take money once per key, however often it is asked."""

    def look_up(self, *, key: str) -> ChargeAnswer | None:
        """Return what became of the charge with this key; None when the gateway has never seen it."""

    def refund(self, request: RefundRequest) -> RefundMade:
        """Give money back once per key. Raises: RefundRefused."""

    def look_up_refund(self, *, key: str) -> RefundMade | None:
        """Return the refund with this key; None when the gateway has not made it."""

    def entries(
        self, *, since: datetime | None = None, limit: int | None = None, order_ids: Sequence[str] = ()
    ) -> list[Entry]:
        """Return what the gateway has entered, oldest first, as `charge` and `refund`.

        Of the named orders, or of all; from this time by the gateway's clock, or from the beginning; at most so many.
        """
