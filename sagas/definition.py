"""The language a saga is written in. A definition reads like the story, and is checked when it is imported.

It holds no code of the contexts, only their contracts.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from typing import Any, Literal

import msgspec
from django.conf import settings

from outbox.contracts import Command, Event, Message, MessageDeadLettered
from sagas.fitting import misfits

# The name of the last step of a saga that turned back: its closing command.
CLOSE = "close"

# A forward step that takes longer is turned back: no customer waits longer for a yes or a no.
DEADLINE = timedelta(minutes=10)
# A compensation has to outlast an outage of the other side before a person is called.
COMPENSATION_DEADLINE = timedelta(hours=1)


_NAME = re.compile(r"[a-z][a-z0-9-]*")


class DefinitionError(Exception):
    """A saga definition breaks a rule; the text says which and where."""


@dataclass(frozen=True, slots=True)
class Step:
    """One action with the compensation that semantically undoes it.

    Before the pivot every step has a compensation, from the pivot on none has: what follows is retried until done.
    """

    name: str
    action: type[Command] = field(kw_only=True)
    compensation: type[Command] | None = field(kw_only=True, default=None)
    pivot: bool = field(kw_only=True, default=False)
    deadline: timedelta = field(kw_only=True, default=DEADLINE)
    compensation_deadline: timedelta = field(kw_only=True, default=COMPENSATION_DEADLINE)


class Parallel:
    """Steps that run side by side; the saga goes on when all have succeeded."""

    def __init__(self, *steps: Step) -> None:
        self.steps = steps


@dataclass(frozen=True, kw_only=True)
class SagaDefinition:
    """A named, numbered story: what starts it, its steps in order, and what closes it when it turned back.

    `data` is what the commands are filled from; it is taken from the event that starts the saga. `cancelled_by` is
    an event with a `reason` that turns a running saga back. Two sagas with the same `lock` never run on one key at
    the same time: the later one waits, or is refused. Raises `DefinitionError` on a broken rule.
    """

    name: str
    version: int
    data: type[msgspec.Struct]
    started_by: type[Event]
    steps: Sequence[Step | Parallel]
    on_compensated: type[Command] | None = None
    cancelled_by: type[Event] | None = None
    lock: str = "order"
    on_conflict: Literal["wait", "refuse"] = "wait"
    groups: tuple[tuple[Step, ...], ...] = field(init=False, default=())
    by_name: dict[str, Step] = field(init=False, default_factory=dict, repr=False, compare=False)
    pivot_at: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        groups = tuple(s.steps if isinstance(s, Parallel) else (s,) for s in self.steps)
        object.__setattr__(self, "groups", groups)
        self.by_name.update({step.name: step for group in groups for step in group})
        _check(self)
        object.__setattr__(self, "pivot_at", next(i for i, group in enumerate(groups) if any(s.pivot for s in group)))

    def group_of(self, step_name: str) -> int:
        """Return the position of the group that a step belongs to."""
        return next(i for i, group in enumerate(self.groups) if any(s.name == step_name for s in group))


def _check(definition: SagaDefinition) -> None:
    for complaint in (
        *_complaints_of_names(definition),
        *_complaints_of_order(definition),
        *_complaints_of_time(definition),
        *_complaints_of_data(definition),
    ):
        raise DefinitionError(f"saga {definition.name!r} version {definition.version}: {complaint}")


def _complaints_of_names(definition: SagaDefinition) -> Iterator[str]:
    if not _NAME.fullmatch(definition.name):
        yield "its name must be lower case words joined by hyphens"
    if len(definition.by_name) != sum(len(group) for group in definition.groups):
        yield "two steps have the same name"
    for name in definition.by_name:
        if not _NAME.fullmatch(name) or name == CLOSE:
            yield f"step name {name!r} must be lower case words joined by hyphens, and not {CLOSE!r}"


def _complaints_of_order(definition: SagaDefinition) -> Iterator[str]:
    pivots = [i for i, group in enumerate(definition.groups) for step in group if step.pivot]
    if len(pivots) != 1:
        yield f"it has {len(pivots)} pivots; exactly one step is the point of no return"
        return
    if len(definition.groups[pivots[0]]) > 1:
        yield "the pivot must stand alone, not in a parallel group"
    for i, group in enumerate(definition.groups):
        for step in group:
            if i < pivots[0] and step.compensation is None:
                yield f"step {step.name!r} stands before the pivot and has no compensation"
            if i >= pivots[0] and step.compensation is not None:
                yield f"step {step.name!r} stands at or after the pivot and cannot be compensated"


def _complaints_of_time(definition: SagaDefinition) -> Iterator[str]:
    for step in definition.by_name.values():
        if min(step.deadline, step.compensation_deadline) <= timedelta():
            yield f"step {step.name!r} leaves no time until its deadline"


def _complaints_of_data(definition: SagaDefinition) -> Iterator[str]:
    known = {f.name for f in msgspec.structs.fields(definition.data)}
    for step in definition.by_name.values():
        for command in (step.action, step.compensation):
            if command is not None and (missing := _required(command) - known):
                yield f"step {step.name!r}: {command.__name__} needs {sorted(missing)}, which its data does not have"
            if command is not None and (wrong := misfits(definition.data, command)):
                yield f"step {step.name!r}: {command.__name__} wants {wrong} of another type than its data has"
    closing = definition.on_compensated
    if closing is not None and (wrong := misfits(definition.data, closing)):
        yield f"on_compensated wants {wrong} of another type than its data has"
    if wrong := misfits(definition.started_by, definition.data):
        yield f"its data wants {wrong} of another type than {definition.started_by.__name__} tells"
    if closing is not None and (missing := _required(closing) - known - {"reason"}):
        yield f"on_compensated needs {sorted(missing)}, which its data does not have"
    if missing := _required(definition.data) - {f.name for f in msgspec.structs.fields(definition.started_by)}:
        yield f"{definition.started_by.__name__} does not tell {sorted(missing)}, which its data needs"


def _required(struct: type[msgspec.Struct]) -> set[str]:
    return {f.name for f in msgspec.structs.fields(struct) if f.required}


@cache
def definitions() -> dict[tuple[str, int], SagaDefinition]:
    """Return every definition in the packages of `settings.SAGA_DEFINITIONS`, by name and version.

    Raises `DefinitionError` when two share name and version.
    """
    found: dict[tuple[str, int], SagaDefinition] = {}
    for package in settings.SAGA_DEFINITIONS:
        for value in _values(package):
            key = (value.name, value.version)
            if found.setdefault(key, value) is not value:
                raise DefinitionError(f"saga {value.name!r} version {value.version} is defined twice")
    return found


def latest(name: str) -> SagaDefinition:
    """Return the newest version of a saga. Raises `KeyError` when there is none."""
    versions = [definition for (known, _), definition in definitions().items() if known == name]
    if not versions:
        raise KeyError(name)
    return max(versions, key=lambda definition: definition.version)


def events_of_interest(known: dict[tuple[str, int], SagaDefinition]) -> list[type[Message]]:
    """Return the events that start, answer or turn any saga, and dead letters; each once."""
    wanted: dict[type[Message], None] = {}
    for definition in known.values():
        steps = [step for group in definition.groups for step in group]
        commands = [c for s in steps for c in (s.action, s.compensation)] + [definition.on_compensated]
        wanted[definition.started_by] = None
        if definition.cancelled_by is not None:
            wanted[definition.cancelled_by] = None
        for command in commands:
            if command is not None:
                wanted[command.success] = None
                if command.failure is not None:
                    wanted[command.failure] = None
    wanted[MessageDeadLettered] = None
    return list(wanted)


def _values(package_name: str) -> Iterable[SagaDefinition]:
    package: Any = importlib.import_module(package_name)
    below = pkgutil.iter_modules(getattr(package, "__path__", ()))
    for module in (package, *(importlib.import_module(f"{package_name}.{info.name}") for info in below)):
        for value in vars(module).values():
            if isinstance(value, SagaDefinition):
                yield value
