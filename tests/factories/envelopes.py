"""Messages as a handler receives them."""

from datetime import UTC, datetime
from typing import TypeVar
from uuid import UUID

from uuid_utils.compat import uuid7

from outbox.contracts import ACTION, Direction, Envelope, Message

MessageType = TypeVar("MessageType", bound=Message)


def envelope(
    data: MessageType,
    *,
    subject: UUID | None = None,
    saga_id: UUID | None = None,
    step: str = "step",
    direction: Direction = ACTION,
    attempt: int = 1,
    time: datetime | None = None,
) -> Envelope[MessageType]:
    """Wrap a payload; its order is its ordering key unless another one is given."""
    return Envelope(
        id=uuid7(),
        source="test",
        subject=subject or getattr(data, "order_id", None) or uuid7(),
        time=time or datetime.now(UTC),
        data=data,
        attempt=attempt,
        correlation_id=saga_id or uuid7(),
        step=step,
        direction=direction,
    )
