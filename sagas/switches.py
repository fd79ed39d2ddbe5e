"""The switches of operation: pauses, the limit of compensations, breakers, replays. Each leaves a line in the log.

What is switched is messaging's; who did it, from where and why is kept by the operator log, which lives above it. So
every door that a person takes to a switch leads through here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import structlog
from django.db import transaction

from outbox import breaker, pausing, rates, redrive
from outbox.breaker import BreakerUnreachable, UnknownGateway
from outbox.pausing import PauseRefused
from outbox.rates import OutOfBounds
from outbox.redrive import ReplayRefused
from sagas import operator_log
from sagas.engine import Refused
from sagas.wanted import ReasonMissing

log = structlog.get_logger(__name__)

REFUSALS = (Refused, PauseRefused, OutOfBounds, UnknownGateway, BreakerUnreachable, ReplayRefused)
PERMISSION = "sagas.switch"
COMPENSATION_RATE = "compensations"


class SwitchedMeanwhile(Refused):
    """Somebody has thrown this switch since the operator looked at it; look again before you act."""


def pause(*, destination: str, operator: str, origin: str, reason: str, compensations_only: bool = False) -> None:
    """Stop a destination, or its compensations, until it is resumed. Raises `PauseRefused`, `ReasonMissing`."""
    _require(reason)
    with transaction.atomic():
        pausing.pause(destination=destination, operator=operator, reason=reason, compensations_only=compensations_only)
        seen = {"about": destination, "state": "running", "compensations_only": compensations_only}
        _note("pause", operator, origin, reason, seen)
    log.warning("outbox.destination.paused", destination=destination, operator=operator)


def resume(*, destination: str, operator: str, origin: str, reason: str) -> None:
    """Let a destination go on at once. Raises `PauseRefused`, `ReasonMissing`."""
    _require(reason)
    with transaction.atomic():
        held = pausing.resume(destination=destination)
        seen = {
            "about": destination,
            "state": "paused",
            "compensations_only": held.compensations_only,
            "paused_by": held.paused_by,
            "paused_at": held.paused_at.isoformat(),
        }
        _note("resume", operator, origin, reason, seen)
    log.warning("outbox.destination.resumed", destination=destination, operator=operator)


def set_compensation_rate(
    *, per_second: int | None, operator: str, origin: str, reason: str, seen_at: datetime | None = None
) -> None:
    """Set the limit of compensations a second for all workers; None gives it back to the setting.

    `seen_at` is when the limit that the operator saw was set; None when it was the setting's.
    Raises `OutOfBounds`, `SwitchedMeanwhile`, `ReasonMissing`.
    """
    _require(reason)
    with transaction.atomic():
        before = rates.set_rate(per_second=per_second, operator=operator, reason=reason)
        if before.changed_at != seen_at:
            raise SwitchedMeanwhile(f"the limit has changed since you looked: it is {before.per_second} a second now")
        seen = {"about": COMPENSATION_RATE, "per_second": before.per_second, "wanted": per_second}
        _note("set rate" if per_second else "clear rate", operator, origin, reason, seen)


def hold_breaker_open(*, gateway: str, operator: str, origin: str, reason: str) -> None:
    """Let nobody call a gateway until somebody closes its breaker.

    Raises `UnknownGateway`, `BreakerUnreachable`, `ReasonMissing`.
    """
    _turn_breaker("open breaker", gateway, operator, origin, reason, breaker.hold_open)


def close_breaker(*, gateway: str, operator: str, origin: str, reason: str) -> None:
    """Let everybody call a gateway again, now. Raises `UnknownGateway`, `BreakerUnreachable`, `ReasonMissing`."""
    _turn_breaker("close breaker", gateway, operator, origin, reason, breaker.close)


def replay(
    *,
    consumer: str,
    since: datetime | None = None,
    ordering_key: UUID | None = None,
    operator: str,
    origin: str,
    reason: str,
) -> int:
    """Deliver logged events to a consumer again. Returns how many deliveries were added. Raises `ReplayRefused`."""
    _require(reason)
    redrive.require_replayable(consumer=consumer, since=since, ordering_key=ordering_key)
    # First the line: a replay is many transactions, and one that is killed has been begun all the same.
    seen = {"about": consumer, "since": since.isoformat() if since else None}
    operator_log.write(
        operator=operator,
        origin=origin,
        action="replay",
        key=ordering_key,
        reason=reason,
        seen=seen,
        result="requested",
    )
    return redrive.replay(consumer=consumer, since=since, ordering_key=ordering_key)


def note_partitions(*, dropped: Sequence[str], operator: str, origin: str, reason: str) -> None:
    """Note which days of the message log a person has dropped."""
    _note("drop partitions", operator, origin, reason, {"about": "message log", "partitions": list(dropped)})


def _turn_breaker(
    action: str, gateway: str, operator: str, origin: str, reason: str, turn: Callable[..., None]
) -> None:
    _require(reason)
    known = {status.gateway: status for status in breaker.statuses()}
    with transaction.atomic():
        if gateway in known:
            before = known[gateway]
            seen = {
                "about": gateway,
                "state": before.state,
                "since": before.since.isoformat() if before.since else None,
                "held_by": before.held_by,
            }
            _note(action, operator, origin, reason, seen)
        # Within the transaction, so that a breaker which does not turn leaves no line. It locks nothing that anybody
        # waits for, and Redis has a quarter of a second to answer.
        turn(gateway=gateway, operator=operator)


def _note(action: str, operator: str, origin: str, reason: str, seen: dict[str, Any]) -> None:
    operator_log.write(operator=operator, origin=origin, action=action, reason=reason, seen=seen, result="done")


def _require(reason: str) -> None:
    if not reason.strip():
        raise ReasonMissing("give a reason: the next person will read it")
