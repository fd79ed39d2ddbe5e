"""What an action would do as things are now, told before it is done and without a trace."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import msgspec
from django.conf import settings
from django.utils import timezone

from desk.actions.catalogue import ABANDON, EDIT, CaseAction
from desk.actions.outlook import Planned, amount_of, call_of, command_of, outlook
from outbox.contracts import Command
from outbox.inquiries import Call
from outbox.models import Message
from outbox.selectors import pending
from payments.contracts import ChargePayment, RefundPayment
from sagas import editing, engine, four_eyes
from sagas.definition import SagaDefinition, definitions
from sagas.engine import Decision, Refused
from sagas.inputs import Abandon, CancelRequested, Input, ResolveStuck, RetryStuck, SkipStuck
from sagas.models import Case, SagaInstance
from sagas.states import Instance, SagaStatus, StepState, StepStatus

PAST_THE_PIVOT = (
    "the order is past its point of no return and can no longer be undone; offer the customer a return: once the order "
    "is CONFIRMED it is taken back, refunded and restocked (POST /api/v1/orders/{key}/returns)"
)

_CAVEATS: dict[type[Command], str] = {
    RefundPayment: ", as far as it was charged: the bank is asked first",
    ChargePayment: ", once: a charge that the bank knows already is not made again",
}


@dataclass(frozen=True, slots=True)
class Preview:
    """What would follow: in sentences, as calls, in money; the saga's status right after, and at a good end.

    `to_ask` are the calls that bank and carrier should be asked about before anybody decides.
    """

    effects: list[str]
    status: str = ""
    good_end: str = ""
    calls: list[Planned] = field(default_factory=list)
    money: list[str] = field(default_factory=list)
    approval: str = ""
    to_ask: list[Call] = field(default_factory=list)


def preview_of_edit(case: Case, message: Message) -> Preview:
    """Return what sending an edited message of an open case again would do. Raises `Refused` when it cannot be done."""
    ahead = preview(EDIT, case=case)
    kept = [
        f"{message.type} {message.pk} stays in the log as it was; the edited one names it as its cause.",
        "Bank and carrier are asked once more before anything is sent: what they have dealt with is not edited.",
    ]
    return replace(ahead, effects=[*ahead.effects, *kept])


def preview(action: CaseAction, *, case: Case | None = None, saga: SagaInstance | None = None) -> Preview:
    """Return what the action would do to an open case, or to a saga. Raises `Refused` when it cannot be done."""
    if case is not None and case.status != Case.Status.OPEN:
        raise Refused(f"the case is closed already: {case.get_resolution_display().lower()}")
    saga = saga or (case.saga if case is not None else None)
    if saga is not None:
        return _of_saga(saga, action, case.step if case is not None and action is EDIT else "")
    assert case is not None  # noqa: S101 - one of the two is given
    return _of_message(case, action)


def instance_of(saga: SagaInstance) -> Instance:
    """Return a saga as the engine knows it."""
    steps = msgspec.convert(saga.steps, dict[str, StepState])
    return Instance(saga.pk, saga.key, SagaStatus(saga.status), steps, saga.data, saga.reason)


def definition_of(saga: SagaInstance) -> SagaDefinition:
    """Return the definition that a saga runs by. Raises `Refused` when this release does not have it."""
    definition = definitions().get((saga.name, saga.version))
    if definition is None:
        raise Refused(f"this release does not know {saga.name} version {saga.version}")
    return definition


def approval_of(action: CaseAction, saga: SagaInstance | None) -> str:
    """Return in words who has to approve the action; nothing when nobody has to."""
    if not four_eyes.is_needed(action=action.name, data=saga.data if saga else {}):
        return ""
    hours = f"{settings.FOUR_EYES_EXPIRES_HOURS:g} hours"
    return f"Another person who may approve has to agree within {hours}; nothing is done before that."


def _of_saga(saga: SagaInstance, action: CaseAction, edited: str) -> Preview:
    definition, instance, now = definition_of(saga), instance_of(saga), timezone.now()
    stuck = {name: state for name, state in instance.steps.items() if state.status is StepStatus.STUCK}
    wish, again = action.wish, []
    if isinstance(wish, RetryStuck):
        wish = RetryStuck(_fresh(saga, stuck))
        again = [call for name in stuck if name not in wish.fresh if (call := _call(definition, instance, name))]
    decision = engine.decide(definition, instance, wish, now)
    if decision.ignored:
        raise Refused(_why_ignored(instance))
    calls, end = outlook(definition, decision, again=again, now=now)
    return Preview(
        effects=[*_effects(definition, instance, wish, stuck, decision, edited)],
        status=decision.instance.status.value,
        good_end=end.value,
        calls=calls,
        money=[*_money(definition, instance, wish, stuck, calls)],
        approval=approval_of(action, saga),
        to_ask=_to_ask(definition, instance, stuck, calls),
    )


def _fresh(saga: SagaInstance, stuck: dict[str, StepState]) -> frozenset[str]:
    """Return the stuck steps whose message has nothing left to deliver, so that a new command goes out."""
    cases = saga.cases.filter(status=Case.Status.OPEN, message_id__isnull=False)
    messages = {case.step: case.message_id for case in cases if case.message_id is not None}
    present = pending(list(messages.values()), ordering_key=saga.key)
    gone = {name for name in stuck if messages.get(name) not in present}
    return frozenset(name for name in gone if editing.given_up_in_doubt(messages.get(name)) is None)


def _call(definition: SagaDefinition, instance: Instance, name: str) -> Call | None:
    return call_of(definition, instance, name, instance.steps[name])


def _why_ignored(instance: Instance) -> str:
    if instance.reason:
        return f"the saga is turning back already: {instance.reason}"
    if instance.status in (SagaStatus.COMPENSATED, SagaStatus.ABANDONED):
        return f"the saga has ended: {instance.status}"
    return PAST_THE_PIVOT.format(key=instance.key)


def _effects(
    definition: SagaDefinition,
    instance: Instance,
    wish: Input,
    stuck: dict[str, StepState],
    decision: Decision,
    edited: str,
) -> Iterator[str]:
    if isinstance(wish, CancelRequested):
        yield "The saga turns back from where it is: what was done is undone, the last step first."
        yield f"The order ends as CANCELLED, because: {wish.reason}."
        return
    for name, state in stuck.items():
        command = command_of(definition, name, state.direction)
        wire_type = command.wire_type if command else "its command"
        yield _effect_on_step(wish, name, state, wire_type, "as you edit it" if name == edited else "as it was")
    if isinstance(wish, Abandon):
        done = [name for name, state in instance.steps.items() if state.status is StepStatus.SUCCEEDED]
        if done:
            yield f"What was done is not undone: {', '.join(done)}."
        yield "No further command is sent for this saga."
    if not isinstance(wish, RetryStuck):
        for order in decision.orders:
            yield f"Then {order.command.wire_type} is sent ({order.step}, {order.direction})."


def _effect_on_step(wish: Input, name: str, state: StepState, wire_type: str, how: str) -> str:
    match wish:
        case RetryStuck(fresh=fresh) if name not in fresh:
            return f"{wire_type} is delivered again {how}: fresh attempts, the same idempotency key."
        case RetryStuck():
            return (
                f"A new {wire_type} is sent with an idempotency key of its own, "
                "since the first one was answered for good."
            )
        case SkipStuck():
            return f"Step {name} ({state.direction}) counts as SKIPPED; {wire_type} is not sent again."
        case ResolveStuck():
            return f"Step {name} ({state.direction}) counts as RESOLVED: it was done by hand."
        case _:
            return f"Step {name} ({state.direction}) stays as it is: {state.error or 'stuck'}."


def _money(
    definition: SagaDefinition,
    instance: Instance,
    wish: Input,
    stuck: dict[str, StepState],
    calls: Sequence[Planned],
) -> Iterator[str]:
    moving = [planned for planned in calls if planned.money]
    for planned in moving:
        when = "Then, when all before it has succeeded" if planned.later else "At once"
        yield f"{when}: {planned.money}{_CAVEATS.get(type(planned.call.command), '')}."
    left = [call for name in stuck if (call := _call(definition, instance, name)) and _is_money(call)]
    for call in left if isinstance(wish, SkipStuck | ResolveStuck | Abandon) else ():
        amount = amount_of(call.command)
        back = isinstance(call.command, RefundPayment)
        if isinstance(wish, ResolveStuck):
            deed = f"gave {amount} back to the customer" if back else f"took {amount} from the customer"
            yield f"By this no money moves: you say that you {deed} by hand."
        else:
            yield f"{amount} {'are not given back to' if back else 'are not taken from'} the customer by this."
    if not moving and not left:
        yield "No money moves."


def _is_money(call: Call) -> bool:
    return isinstance(call.command, ChargePayment | RefundPayment)


def _to_ask(
    definition: SagaDefinition, instance: Instance, stuck: dict[str, StepState], calls: Sequence[Planned]
) -> list[Call]:
    """Return the calls of stuck steps, those that go out at once, and one of each other gateway called before."""
    asked = [call for name in stuck if (call := _call(definition, instance, name))]
    asked += [planned.call for planned in calls if not planned.later]
    covered = {Planned(call).gateway for call in asked}
    for name, state in instance.steps.items():
        if state.status is StepStatus.PENDING:
            continue
        begun = call_of(definition, instance, name, StepState())
        if begun is not None and Planned(begun).gateway not in covered:
            covered.add(Planned(begun).gateway)
            asked.append(begun)
    return asked


def _of_message(case: Case, action: CaseAction) -> Preview:
    action.require_message_action()
    message = Message.objects.filter(pk=case.message_id).first() if case.message_id else None
    wire_type = message.type if message else "The message"
    approval = approval_of(action, None)
    money = ["No money moves."]
    if isinstance(action.wish, RetryStuck):
        if case.message_id is None or not pending([case.message_id], ordering_key=case.key):
            raise Refused("its delivery is gone; there is nothing to send again")
        effects = [f"{wire_type} is delivered to {case.destination} again, with fresh attempts."]
        return Preview(effects, approval=approval, money=money)
    effects = [
        f"{wire_type} is no longer delivered to {case.destination}; the log keeps it.",
        f"Later messages of the same order to {case.destination} go on.",
    ]
    if action is ABANDON:
        effects.append(f"What {case.destination} should have done with it is not done.")
    return Preview(effects, approval=approval, money=money)
