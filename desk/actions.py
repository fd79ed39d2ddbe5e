"""What an operator can do with a case, and what that would do, told before it is done and without a trace."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
from django.utils import timezone

from outbox.contracts import ACTION, Command
from outbox.models import Message
from outbox.selectors import pending
from sagas import engine, services
from sagas.definition import SagaDefinition, definitions
from sagas.engine import Decision, Refused
from sagas.inputs import Abandon, ResolveStuck, RetryStuck, SkipStuck, Wish
from sagas.models import Case, SagaInstance
from sagas.states import Instance, SagaStatus, StepState, StepStatus


@dataclass(frozen=True, slots=True)
class CaseAction:
    """One thing that an operator can do with a case.

    `service` acts on the case's saga; a case outside any saga takes those with `is_for_messages`.
    """

    name: str
    title: str
    wish: Wish
    service: Callable[..., str]
    needs_reference: bool = False
    is_for_messages: bool = True

    def carry_out(self, *, case: Case, operator: str, form: dict[str, Any]) -> str:
        """Do it. Returns what came of it. Raises `Refused`."""
        given = {"operator": operator, "reason": form["reason"]}
        if case.saga_id is None:
            self.require_message_action()
            reference = form.get("reference", "")
            return services.close_message_case(case_id=case.pk, action=self.name, reference=reference, **given)
        if self.needs_reference:
            given["reference"] = form["reference"]
        return self.service(saga_id=case.saga_id, seen_at=form["seen"], **given)

    def require_message_action(self) -> None:
        """Raise `Refused` when this cannot be done with a case outside any saga."""
        if not self.is_for_messages:
            raise Refused("this case belongs to no saga; there is no step to act on")


RETRY = CaseAction("retry", "Retry", RetryStuck(), services.retry)
SKIP = CaseAction("skip", "Skip", SkipStuck(), services.skip, is_for_messages=False)
RESOLVE = CaseAction("resolve", "Resolve by hand", ResolveStuck(), services.resolve, needs_reference=True)
ABANDON = CaseAction("abandon", "Abandon", Abandon(), services.abandon)
ACTIONS = {action.name: action for action in (RETRY, SKIP, RESOLVE, ABANDON)}


@dataclass(frozen=True, slots=True)
class Preview:
    """What would follow: in sentences, and the status that the saga would have right after."""

    effects: list[str]
    status: str = ""


def preview(case: Case, action: CaseAction) -> Preview:
    """Return what the action would do to an open case as things are now. Raises `Refused` when it cannot."""
    if case.status != Case.Status.OPEN:
        raise Refused(f"the case is closed already: {case.get_resolution_display().lower()}")
    if case.saga is None:
        return _of_message(case, action)
    definition = definitions().get((case.saga.name, case.saga.version))
    if definition is None:
        raise Refused(f"this release does not know {case.saga.name} version {case.saga.version}")
    instance = _instance(case.saga)
    cases = list(case.saga.cases.filter(status=Case.Status.OPEN))
    messages = {each.step: each.message_id for each in cases if each.message_id is not None}
    present = pending(messages.values())
    stuck = {name: state for name, state in instance.steps.items() if state.status is StepStatus.STUCK}
    wish = action.wish
    if isinstance(wish, RetryStuck):
        wish = RetryStuck(frozenset(name for name in stuck if messages.get(name) not in present))
    decision = engine.decide(definition, instance, wish, timezone.now())
    return Preview([*_effects(definition, instance, wish, stuck, decision)], decision.instance.status.value)


def command_of(definition: SagaDefinition, step: str, direction: str) -> type[Command] | None:
    """Return the command of a step in one direction; that of the closing step for any other name."""
    declared = definition.by_name.get(step)
    if declared is None:
        return definition.on_compensated
    return declared.action if direction == ACTION else declared.compensation


def _effects(
    definition: SagaDefinition,
    instance: Instance,
    wish: Wish,
    stuck: dict[str, StepState],
    decision: Decision,
) -> Iterator[str]:
    for name, state in stuck.items():
        command = command_of(definition, name, state.direction)
        wire_type = command.wire_type if command else "its command"
        match wish:
            case RetryStuck(fresh=fresh) if name not in fresh:
                yield f"{wire_type} is delivered again as it was: fresh attempts, the same idempotency key."
            case RetryStuck():
                yield (
                    f"A new {wire_type} is sent with an idempotency key of its own, "
                    "since the first one was answered for good."
                )
            case SkipStuck():
                yield f"Step {name} ({state.direction}) counts as SKIPPED; {wire_type} is not sent again."
            case ResolveStuck():
                yield f"Step {name} ({state.direction}) counts as RESOLVED: it was done by hand."
            case _:
                yield f"Step {name} ({state.direction}) stays as it is: {state.error or 'stuck'}."
    if isinstance(wish, Abandon):
        done = [name for name, state in instance.steps.items() if state.status is StepStatus.SUCCEEDED]
        if done:
            yield f"What was done is not undone: {', '.join(done)}."
        yield "No further command is sent for this saga."
    if not isinstance(wish, RetryStuck):
        for order in decision.orders:
            yield f"Then {order.command.wire_type} is sent ({order.step}, {order.direction})."


def _of_message(case: Case, action: CaseAction) -> Preview:
    action.require_message_action()
    message = Message.objects.filter(pk=case.message_id).first() if case.message_id else None
    wire_type = message.type if message else "The message"
    if action.name == RETRY.name:
        return Preview([f"{wire_type} is delivered to {case.destination} again, with fresh attempts."])
    return Preview(
        [
            f"{wire_type} is no longer delivered to {case.destination}; the log keeps it.",
            f"Later messages of the same order to {case.destination} go on.",
        ]
    )


def _instance(saga: SagaInstance) -> Instance:
    steps = msgspec.convert(saga.steps, dict[str, StepState])
    return Instance(saga.pk, saga.key, SagaStatus(saga.status), steps, saga.data, saga.reason)
