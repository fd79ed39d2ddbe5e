"""What the diagram of a saga shows: each step's way forward, the way back below it, and how far each of them came."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

import msgspec

from outbox.contracts import ACTION, COMPENSATION
from outbox.history import Leg
from sagas.definition import CLOSE, SagaDefinition, Step, definitions
from sagas.models import SagaInstance
from sagas.selectors import describe
from sagas.states import LIVE, SagaStatus, StepState, StepStatus, step_name


class Mark(Enum):
    """How far one direction of a step came, in the words of the diagram; each has its own sign besides its color."""

    IDLE = "not begun"
    RUNNING = "in flight"
    DONE = "done"
    FAILED = "failed"
    UNKNOWN = "outcome unknown"
    STUCK = "stuck: needs a person"
    SKIPPED = "skipped by hand"
    RESOLVED = "done by hand"
    UNDOING = "being undone"
    UNDONE = "undone"
    TO_UNDO = "still to be undone"
    SPARED = "not needed"


@dataclass(frozen=True, slots=True)
class Box:
    """One direction of one step: its name, its command, how far it came, how long that took, what went wrong."""

    name: str
    command: str
    mark: Mark
    note: str = ""
    error: str = ""
    is_pivot: bool = False

    @property
    def sentence(self) -> str:
        """All of it in words, for who cannot see the diagram."""
        extra = "; ".join(part for part in (self.note, self.error) if part)
        return f"{self.name} ({self.command}): {self.mark.value}{f', {extra}' if extra else ''}."


@dataclass(frozen=True, slots=True)
class Column:
    """Steps that run side by side, and below them what undoes them; None where nothing does."""

    forward: tuple[Box, ...]
    backward: tuple[Box | None, ...]


@dataclass(frozen=True, slots=True)
class Picture:
    """A saga as the diagram shows it. `closing` is what is done last on the way back."""

    name: str
    status: str
    started_by: str
    columns: tuple[Column, ...]
    closing: Box | None
    has_turned: bool

    @property
    def title(self) -> str:
        """What the diagram is of."""
        return f"Saga {self.name}: {self.status}"

    @property
    def description(self) -> str:
        """The whole diagram in words."""
        forward = [box.sentence for column in self.columns for box in column.forward]
        back = [box.sentence for column in reversed(self.columns) for box in column.backward if box is not None]
        closing = [self.closing.sentence] if self.closing else []
        way_back = ["The way back:", *back, *closing] if self.has_turned else ["It has not turned back."]
        return " ".join(["The way forward:", *forward, *way_back])


_FORWARD = {
    StepStatus.PENDING: Mark.IDLE,
    StepStatus.RUNNING: Mark.RUNNING,
    StepStatus.SUCCEEDED: Mark.DONE,
    StepStatus.FAILED: Mark.FAILED,
    StepStatus.UNKNOWN: Mark.UNKNOWN,
    StepStatus.STUCK: Mark.STUCK,
    StepStatus.SKIPPED: Mark.SKIPPED,
    StepStatus.RESOLVED: Mark.RESOLVED,
}
_BACKWARD = {
    StepStatus.COMPENSATING: Mark.UNDOING,
    StepStatus.COMPENSATED: Mark.UNDONE,
    StepStatus.STUCK: Mark.STUCK,
    StepStatus.SKIPPED: Mark.SKIPPED,
    StepStatus.RESOLVED: Mark.RESOLVED,
}


def picture_of(saga: SagaInstance, legs: Iterable[Leg]) -> Picture:
    """Return what the diagram of a saga shows; `legs` are those of its order. No query."""
    return _Painter(saga, [leg for leg in legs if leg.saga_id == saga.pk]).paint()


class _Painter:
    def __init__(self, saga: SagaInstance, legs: Sequence[Leg]) -> None:
        self._saga = saga
        self._definition: SagaDefinition | None = definitions().get((saga.name, saga.version))
        self._steps = msgspec.convert(saga.steps, dict[str, StepState])
        self._legs: dict[tuple[str, str], list[Leg]] = defaultdict(list)
        for leg in legs:
            self._legs[step_name(leg.wire_step), leg.direction].append(leg)
        is_back = any(state.direction == COMPENSATION for state in self._steps.values()) or CLOSE in self._steps
        self._has_turned = is_back or saga.status in (SagaStatus.COMPENSATING, SagaStatus.COMPENSATED)

    def paint(self) -> Picture:
        definition = self._definition
        if definition is None:
            # A version that this release does not know: its steps are in the row, their commands are not.
            names = [step["step"] for step in describe(self._saga)["steps"] if step["step"] != CLOSE]
            columns = tuple(Column((self._forward(name, None),), (self._backward(name, None),)) for name in names)
        else:
            columns = tuple(
                Column(
                    tuple(self._forward(step.name, step) for step in group),
                    tuple(self._backward(step.name, step) for step in group),
                )
                for group in definition.groups
            )
        return Picture(
            name=f"{self._saga.name} version {self._saga.version}",
            status=self._saga.status,
            started_by=definition.started_by.wire_type if definition else "",
            columns=columns,
            closing=self._closing(),
            has_turned=self._has_turned,
        )

    def _forward(self, name: str, step: Step | None) -> Box:
        state = self._steps.get(name, StepState())
        is_current = state.direction == ACTION
        mark = _FORWARD.get(state.status, Mark.UNKNOWN) if is_current else self._how_it_went(name, step)
        return Box(
            name=name,
            command=step.action.wire_type if step else "command unknown to this release",
            mark=mark,
            note=self._note(name, ACTION, state if is_current else None),
            error=state.error if is_current else "",
            is_pivot=step.pivot if step else False,
        )

    def _how_it_went(self, name: str, step: Step | None) -> Mark:
        """Return how a step went that has been turned back since: its state tells of the way back only."""
        answers = {leg.answer for leg in self._legs[name, ACTION] if leg.answer}
        if step is not None and step.action.success.wire_type in answers:
            return Mark.DONE
        return Mark.UNKNOWN

    def _backward(self, name: str, step: Step | None) -> Box | None:
        state = self._steps.get(name, StepState())
        is_current = state.direction == COMPENSATION
        if (step is not None and step.compensation is None) or (step is None and not is_current):
            return None
        return Box(
            name=f"undo {name}",
            command=step.compensation.wire_type if step and step.compensation else "command unknown to this release",
            mark=_BACKWARD.get(state.status, Mark.UNKNOWN) if is_current else self._not_undone(state),
            note=self._note(name, COMPENSATION, state if is_current else None),
            error=state.error if is_current else "",
        )

    def _not_undone(self, state: StepState) -> Mark:
        is_live = self._saga.status in LIVE
        if self._has_turned and is_live and state.status in (StepStatus.SUCCEEDED, StepStatus.UNKNOWN):
            return Mark.TO_UNDO
        return Mark.SPARED if self._has_turned or not is_live else Mark.IDLE

    def _closing(self) -> Box | None:
        state = self._steps.get(CLOSE)
        closing = self._definition.on_compensated if self._definition else None
        if closing is None and state is None:
            return None
        mark = Mark.IDLE if self._has_turned and self._saga.status in LIVE else Mark.SPARED
        return Box(
            name="close the order",
            command=closing.wire_type if closing else "command unknown to this release",
            mark=_FORWARD.get(state.status, Mark.UNKNOWN) if state else mark,
            note=self._note(CLOSE, ACTION, state),
            error=state.error if state else "",
        )

    def _note(self, name: str, direction: str, state: StepState | None) -> str:
        """Return how long it took, and how often it was tried: as far as state and log tell."""
        legs = self._legs[name, direction]
        begun = [leg.asked_at for leg in legs if leg.asked_at]
        ended = [leg.answered_at for leg in legs if leg.answered_at]
        started_at = min(begun, default=state.started_at if state else None)
        ended_at = max(ended, default=None) or (state.ended_at if state else None)
        failed = sum(leg.failed_tries for leg in legs)
        parts = [_took(started_at, ended_at)] if started_at and ended_at and ended_at >= started_at else []
        if failed:
            parts.append(f"{failed} failed {'try' if failed == 1 else 'tries'}")
        if state is not None and state.generation > 1:
            parts.append(f"new attempt {state.generation}")
        return ", ".join(parts)


def _took(start: datetime, end: datetime) -> str:
    seconds = (end - start) / timedelta(seconds=1)
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes = int(seconds // 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"
