"""An event delivered to one consumer again, since a person wants it: one transaction, one line in the log."""

from __future__ import annotations

from uuid import UUID

import structlog
from django.db import transaction

from outbox.models import Message
from outbox.redrive import ReplayRefused
from outbox.replacing import DELIVERED_AGAIN
from outbox.replacing import redeliver as deliver_again
from outbox.transactions import rerun_on_conflict
from sagas import editing, operator_log
from sagas.engine import Refused
from sagas.wanted import ReasonMissing

log = structlog.get_logger(__name__)


def require_event(message: Message) -> None:
    """Raise `Refused` for a command: whether it is sent again is for the saga that sent it."""
    if message.kind != "event":
        raise Refused("a command is not delivered again by itself: act on the case or the saga that sent it")


@rerun_on_conflict
def redeliver(*, message_id: UUID, destination: str, operator: str, origin: str = "", reason: str) -> str:
    """Deliver an event to one consumer again, unless it has handled it; returns which of the two is so.

    The consumer's inbox lets through only what it has not handled, so that it is safe to call twice. Raises `Refused`.
    """
    if not reason.strip():
        raise ReasonMissing("give a reason: the next person will read it")
    with transaction.atomic():
        message = editing.message_of(message_id)
        try:
            result = deliver_again(message=message, destination=destination)
        except ReplayRefused as refusal:
            raise Refused(str(refusal)) from refusal
        operator_log.write(
            operator=operator,
            origin=origin,
            action="redeliver",
            key=message.ordering_key,
            reason=reason,
            seen={"message_id": str(message.pk), "type": message.type, "destination": destination},
            result="requested" if result == DELIVERED_AGAIN else result,
        )
    log.info("sagas.operator.redelivered", operator=operator, message_id=str(message_id), destination=destination)
    return result
