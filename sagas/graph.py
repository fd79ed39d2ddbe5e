"""A saga definition as a picture: the way forward, the way back, and the point of no return between them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from sagas.definition import CLOSE, SagaDefinition, Step, definitions, latest

_CLOSING = f"{CLOSE}-saga"


class UnknownDefinitionName(LookupError):
    """No saga is defined under this name; the text lists those that are."""


def newest(name: str) -> SagaDefinition:
    """Return the newest version of a saga. Raises `UnknownDefinitionName`."""
    try:
        return latest(name)
    except KeyError as error:
        known = ", ".join(sorted({name for name, _ in definitions()}))
        raise UnknownDefinitionName(f"no saga is named {name!r}; there are: {known}") from error


def mermaid(definition: SagaDefinition) -> str:
    """Return a Mermaid flowchart: solid lines lead forward, dotted lines back, the pivot stands out."""
    return "\n".join(["flowchart LR", *(f"    {line}" for line in _lines(definition))])


def _lines(definition: SagaDefinition) -> Iterator[str]:
    yield f'started(["{definition.started_by.wire_type}"])'
    for i, group in enumerate(definition.groups):
        for step in group:
            retried = "<br>retried until done" if i > definition.pivot_at else ""
            box = f'"<b>{step.name}</b><br>{step.action.wire_type}{retried}"'
            yield f"{_action(step)}{{{{{box}}}}}" if step.pivot else f"{_action(step)}[{box}]"
    for step in _undoable(definition):
        assert step.compensation is not None  # noqa: S101 - chosen for it
        yield f'{_compensation(step)}["undo {step.name}<br>{step.compensation.wire_type}"]'
    yield 'completed(["COMPLETED"])'
    if definition.on_compensated is not None:
        yield f'{_CLOSING}["{CLOSE}<br>{definition.on_compensated.wire_type}"]'
    turning = [*_turning(definition), *_back(definition)]
    if turning:
        yield 'compensated(["COMPENSATED"])'
    yield _forward(definition)
    yield from turning
    yield "classDef pivot stroke-width:4px"
    yield f"class {','.join(_action(step) for step in definition.groups[definition.pivot_at])} pivot"


def _forward(definition: SagaDefinition) -> str:
    return " --> ".join(["started", *(_all(group, _action) for group in definition.groups), "completed"])


def _turning(definition: SagaDefinition) -> Iterator[str]:
    """Yield where a failing step leads: back to what came before it, or first to its own undoing."""
    for i, group in enumerate(definition.groups[: definition.pivot_at + 1]):
        for step in group:
            if step.action.failure is not None:
                beside = [other for other in group if other is not step]
                back = _all(beside, _compensation) if beside else _before(definition, i)
                yield f"{_action(step)} -.->|{step.action.failure.wire_type}| {back}"
            if step.compensation is not None:
                yield f"{_action(step)} -.->|outcome unknown| {_compensation(step)}"


def _back(definition: SagaDefinition) -> Iterator[str]:
    for i in range(definition.pivot_at - 1, -1, -1):
        yield f"{_all(definition.groups[i], _compensation)} -.-> {_before(definition, i)}"
    if definition.on_compensated is not None:
        yield f"{_CLOSING} -.-> compensated"


def _before(definition: SagaDefinition, i: int) -> str:
    """Return where the way back goes on, once group `i` is dealt with."""
    if i > 0:
        return _all(definition.groups[i - 1], _compensation)
    return _CLOSING if definition.on_compensated is not None else "compensated"


def _undoable(definition: SagaDefinition) -> list[Step]:
    return [step for group in definition.groups for step in group if step.compensation is not None]


def _all(group: Sequence[Step], name: Callable[[Step], str]) -> str:
    return " & ".join(name(step) for step in group)


def _action(step: Step) -> str:
    return step.name


def _compensation(step: Step) -> str:
    return f"undo-{step.name}"
