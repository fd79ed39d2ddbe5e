"""What can happen to a saga: replies to its commands, wishes of customers and operators, and time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeAlias

from outbox.contracts import Command, Direction, Event, FailureEvent, MessageDeadLettered


@dataclass(frozen=True, slots=True)
class Succeeded:
    """The command of this step and direction was carried out. `step` is the name on the wire."""

    step: str
    direction: Direction


@dataclass(frozen=True, slots=True)
class Failed:
    """The command was not carried out; with `definite` False it may have been all the same."""

    step: str
    direction: Direction
    reason: str
    detail: str = ""
    definite: bool = True


@dataclass(frozen=True, slots=True)
class DeadLettered:
    """The command's attempts are spent, its outcome unknown."""

    step: str
    direction: Direction
    error: str


@dataclass(frozen=True, slots=True)
class CancelRequested:
    """Someone wants the saga undone."""

    reason: str


@dataclass(frozen=True, slots=True)
class DeadlinePassed:
    """A step has been in flight longer than its deadline.

    The steps named in `excused` are held up by an outage, which is not theirs to answer for: they get more time, up to
    `patience` beyond their own deadline.
    """

    excused: frozenset[str] = frozenset()
    patience: timedelta = timedelta()


@dataclass(frozen=True, slots=True)
class RetryStuck:
    """An operator sends the stuck steps again. `fresh` names those whose command must be sent anew.

    `edited` holds, by step, what is sent anew instead of the command that the saga's data would make.
    """

    fresh: frozenset[str] = frozenset()
    edited: Mapping[str, Command] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class SkipStuck:
    """An operator goes on without the stuck steps."""


@dataclass(frozen=True, slots=True)
class ResolveStuck:
    """An operator has done by hand what the stuck steps should have done."""


@dataclass(frozen=True, slots=True)
class Abandon:
    """An operator closes the saga as it is."""


Reply: TypeAlias = Succeeded | Failed | DeadLettered
Wish: TypeAlias = RetryStuck | SkipStuck | ResolveStuck | Abandon
Input: TypeAlias = Reply | CancelRequested | DeadlinePassed | Wish


def reply(event: Event, *, step: str, direction: Direction) -> Reply:
    """Return what an event means to the saga whose command, of this step and direction, caused it."""
    match event:
        case MessageDeadLettered():
            return DeadLettered(step, direction, f"{event.error_class}: {event.error}")
        case FailureEvent():
            return Failed(step, direction, event.reason, event.detail, event.definite)
        case _:
            return Succeeded(step, direction)
