"""What a saga is made of while it runs: its status, its steps, and the instance that holds them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

import msgspec

from outbox.contracts import ACTION, GENERATION_MARK, Direction


class SagaStatus(StrEnum):
    """Where a saga stands. The first three are live."""

    RUNNING = "RUNNING"
    COMPENSATING = "COMPENSATING"
    SUSPENDED = "SUSPENDED"
    COMPLETED = "COMPLETED"
    COMPENSATED = "COMPENSATED"
    ABANDONED = "ABANDONED"


LIVE = (SagaStatus.RUNNING, SagaStatus.COMPENSATING, SagaStatus.SUSPENDED)


class StepStatus(StrEnum):
    """Where a step stands, over both directions."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    UNKNOWN = "UNKNOWN"
    COMPENSATING = "COMPENSATING"
    COMPENSATED = "COMPENSATED"
    STUCK = "STUCK"
    SKIPPED = "SKIPPED"
    RESOLVED = "RESOLVED"


IN_FLIGHT = (StepStatus.RUNNING, StepStatus.COMPENSATING)
# A reply may still come for a stuck step: it goes on then, and nobody is needed any more.
AWAITED = (*IN_FLIGHT, StepStatus.STUCK)
TO_UNDO = (StepStatus.SUCCEEDED, StepStatus.UNKNOWN)
DONE = (StepStatus.SUCCEEDED, StepStatus.SKIPPED, StepStatus.RESOLVED)


class StepState(msgspec.Struct, frozen=True, omit_defaults=True):
    """One step of one saga. `generation` counts an operator's new attempts after a confirmed failure.

    `extended_to` is the new deadline of a step that was held up by an outage when its own had passed.
    """

    status: StepStatus = StepStatus.PENDING
    direction: Direction = ACTION
    started_at: datetime | None = None
    ended_at: datetime | None = None
    error: str = ""
    generation: int = 1
    extended_to: datetime | None = None


@dataclass(frozen=True, slots=True)
class Instance:
    """One run of a saga. `key` is the order id, `data` fills the commands, `reason` says why it turned."""

    id: UUID
    key: UUID
    status: SagaStatus
    steps: dict[str, StepState]
    data: dict[str, Any]
    reason: str = ""


def wire_step(name: str, state: StepState) -> str:
    """Return the step's name on the wire: a new generation is a new step to barrier and bank."""
    return name if state.generation == 1 else f"{name}{GENERATION_MARK}{state.generation}"


def step_name(wire: str) -> str:
    """Return which step of the definition a name on the wire means, of whatever generation."""
    return wire.partition(GENERATION_MARK)[0]
