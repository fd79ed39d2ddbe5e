"""What would come of an action on each of many cases: told from a handful of queries, however many they are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import msgspec
from django.utils import timezone

from desk.actions import ACTIONS, RETRY, command_of
from desk.bulk.models import BulkRow
from outbox.models import Delivery, Message
from sagas import engine, four_eyes
from sagas.definition import SagaDefinition, definitions
from sagas.engine import Decision
from sagas.inputs import RetryStuck
from sagas.models import Case
from sagas.states import Instance, SagaStatus, StepState, StepStatus

# So many cases are read with their sagas at once: their steps and data are long.
CHUNK = 500


@dataclass(frozen=True, slots=True)
class Prospect:
    """One case as it is now; `obstacle` says why it cannot be acted on, and is empty when it can.

    `seen_at` is `desk.actions.seen_at_of` the case.
    """

    case_id: int
    case: Case | None = None
    calls: str = ""
    needs_approval: bool = False
    seen_at: datetime | None = None
    obstacle: str = ""


def prospects(*, case_ids: Sequence[int], action: str) -> list[Prospect]:
    """Return what would come of this action on each of these cases, in their order."""
    return [each for start in range(0, len(case_ids), CHUNK) for each in _look(case_ids[start : start + CHUNK], action)]


def holders(case_ids: Collection[int]) -> dict[int, int]:
    """Return those of these cases that a live run has yet to come to, each with the number of that run."""
    return dict(BulkRow.objects.filter(is_held=True, case_id__in=case_ids).values_list("case_id", "run_id"))


def held_by(run_id: int) -> str:
    """Return why a case of a live run is refused."""
    return f"bulk run {run_id} has it: stop that run first, or wait until it has ended"


def _look(case_ids: Sequence[int], action: str) -> Iterator[Prospect]:
    cases = Case.objects.select_related("saga").in_bulk(case_ids)
    held = holders(case_ids)
    # All open cases of these sagas, and not only the chosen ones: an action is about the whole saga.
    messages: dict[UUID | None, dict[str, UUID]] = defaultdict(dict)
    sagas = {case.saga_id for case in cases.values() if case.saga_id is not None}
    opened = Case.objects.filter(saga_id__in=sagas, status=Case.Status.OPEN, message_id__isnull=False)
    for saga_id, step, message_id in opened.values_list("saga_id", "step", "message_id"):
        messages[saga_id][step] = message_id  # type: ignore[assignment]
    # By the keys, which have an index.
    of_orders = Delivery.objects.filter(ordering_key__in={case.key for case in cases.values()})
    dead: dict[tuple[UUID | None, str], datetime | None] = {
        (pk, place): at for pk, place, at in of_orders.values_list("message_id", "destination", "dead_at")
    }
    present = {message_id for message_id, _ in dead if message_id is not None}
    alone = [case.message_id for case in cases.values() if case.saga_id is None and case.message_id is not None]
    types: dict[UUID | None, str] = dict(Message.objects.filter(pk__in=alone).values_list("pk", "type"))
    for case_id in case_ids:
        case = cases.get(case_id)
        if case is None:
            yield Prospect(case_id, obstacle="there is no such case")
        elif case.status != Case.Status.OPEN:
            yield Prospect(case_id, case, obstacle=f"closed already: {case.get_resolution_display().lower()}")
        elif case_id in held:
            yield Prospect(case_id, case, obstacle=held_by(held[case_id]))
        elif case.saga is None:
            died_at = dead.get((case.message_id, case.destination))
            yield _of_message(case, action, types.get(case.message_id, "the message"), died_at)
        else:
            yield _of_saga(case, action, messages[case.saga_id], present)


def _of_message(case: Case, action: str, wire_type: str, died_at: datetime | None) -> Prospect:
    if not ACTIONS[action].is_for_messages:
        return Prospect(case.pk, case, obstacle="it belongs to no saga; there is no step to act on")
    if action == RETRY.name:
        calls = f"{wire_type} to {case.destination}, as it was"
    else:
        calls = f"nothing; {wire_type} is no longer delivered to {case.destination}"
    return Prospect(case.pk, case, calls, four_eyes.is_needed(action=action, data={}), died_at)


def _of_saga(case: Case, action: str, messages: dict[str, UUID], present: set[UUID]) -> Prospect:
    saga = case.saga
    assert saga is not None  # noqa: S101 - the caller has looked
    definition = definitions().get((saga.name, saga.version))
    if definition is None:
        return Prospect(case.pk, case, obstacle=f"this release does not know {saga.name} version {saga.version}")
    steps = msgspec.convert(saga.steps, dict[str, StepState])
    stuck = {name: state for name, state in steps.items() if state.status is StepStatus.STUCK}
    fresh = frozenset(name for name in stuck if messages.get(name) not in present)
    wish = ACTIONS[action].wish
    if isinstance(wish, RetryStuck):
        wish = RetryStuck(fresh)
    instance = Instance(saga.pk, saga.key, SagaStatus(saga.status), steps, saga.data, saga.reason)
    try:
        decision = engine.decide(definition, instance, wish, timezone.now())
    except engine.Refused as refusal:
        return Prospect(case.pk, case, obstacle=str(refusal))
    if decision.ignored:
        return Prospect(case.pk, case, obstacle=f"the saga is {saga.status.lower()}")
    calls = _repeated(definition, stuck, fresh) if action == RETRY.name else _next(decision)
    needs_approval = four_eyes.is_needed(action=action, data=saga.data)
    return Prospect(case.pk, case, calls, needs_approval, saga.updated_at)


def _repeated(definition: SagaDefinition, stuck: dict[str, StepState], fresh: frozenset[str]) -> str:
    called = []
    for name, state in stuck.items():
        command = command_of(definition, name, state.direction)
        how = "anew, with a key of its own" if name in fresh else "as it was, with the same key"
        called.append(f"{command.wire_type if command else name}, {how}")
    return "; ".join(called)


def _next(decision: Decision) -> str:
    return "; ".join(order.command.wire_type for order in decision.orders) or "nothing"
