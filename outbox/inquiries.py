"""Ask the outside world what it knows of a command, before a person decides about it.

Nothing is changed by it, and an outside world that is away is an answer too: whoever asks wants to act in any case.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from uuid_utils.compat import uuid7

from outbox.consumers import CONSUMERS, Effectful, Known, TransientError
from outbox.contracts import Command, Direction, Envelope, Message
from outbox.outside import UnforeseenAnswer
from outbox.publishing import routing

if TYPE_CHECKING:
    from outbox.ledgers import Entry


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A command as it goes, or went, over the wire."""

    command: Command
    subject: UUID
    saga_id: UUID | None
    step: str | None
    direction: Direction | None

    @property
    def key(self) -> str:
        """The idempotency key that the outside world knows it by."""
        return self.envelope.step_key

    @property
    def envelope(self) -> Envelope[Any]:
        """The command as its handler would receive it."""
        return Envelope(
            id=uuid7(),
            source="desk",
            subject=self.subject,
            time=datetime.now(UTC),
            data=self.command,
            correlation_id=self.saga_id,
            step=self.step,
            direction=self.direction,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Inquiry:
    """What the gateway of a command says of its key now; `known` is None when it did not say, and `away` says why."""

    gateway: str
    key: str
    known: Known | None = None
    away: str = ""

    @property
    def entries(self) -> Sequence[Entry]:
        """All that the ledger says of the order; nothing when it could not be read."""
        return self.known.entries if self.known else ()

    @property
    def text(self) -> str:
        """What was answered, or why nothing was."""
        return self.known.answer if self.known else self.away


def handler_of(message: type[Message]) -> tuple[str, Effectful | None]:
    """Return who takes this command, and the handler here that calls the outside world for it, if there is one."""
    for destination in routing().destinations.get(message.wire_type, ()):
        if destination in CONSUMERS:
            handler = CONSUMERS[destination].handlers.get(message)
            return destination, handler if isinstance(handler, Effectful) else None
        return destination, None
    return "", None


def inquire(call: Call) -> Inquiry | None:
    """Ask the gateway of a command about its key; None when the command calls none. Changes nothing.

    Not while a transaction is open. Never raises for an outside world that is away: the answer says so.
    """
    _, handler = handler_of(type(call.command))
    if handler is None or not handler.gateway:
        return None
    gateway, key = handler.gateway, call.key
    if handler.ask is None:
        return Inquiry(gateway=gateway, key=key, away=f"the {gateway} cannot be asked about this")
    try:
        return Inquiry(gateway=gateway, key=key, known=handler.ask(call.envelope))
    except (TransientError, UnforeseenAnswer) as error:
        return Inquiry(gateway=gateway, key=key, away=str(error))
