"""Missed deadlines become decisions, by a sweep: turn back, give more time, or ask a person."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

import structlog
from django.conf import settings
from django.db import connection, transaction

from outbox.selectors import held_up_by_outage, last_commands, unheard
from outbox.transactions import rerun_on_conflict
from sagas import engine, sql
from sagas.definition import definitions
from sagas.inputs import DeadlinePassed
from sagas.instances import SOURCE, CaseFile, Changes, Loaded, database_now, load
from sagas.states import wire_step

log = structlog.get_logger(__name__)


@rerun_on_conflict
def sweep_deadlines(*, limit: int = 500) -> int:
    """Turn missed deadlines into decisions: turn back, or ask a person. Returns how many sagas were overdue.

    A step that waits for the end of an outage gets more time instead, for at most `OUTAGE_PATIENCE_SECONDS`.
    """
    patience = timedelta(seconds=settings.OUTAGE_PATIENCE_SECONDS)
    with transaction.atomic():
        ids = _overdue(limit)
        changes = Changes(database_now())
        overdue = list(load(ids).values())
        excused = _held_up(overdue, changes.now)
        stuck: list[tuple[Loaded, str]] = []
        for loaded in overdue:
            passed = DeadlinePassed(excused.get(loaded.instance.id, frozenset()), patience)
            decision = engine.decide(loaded.definition, loaded.instance, passed, changes.now)
            changes.apply(loaded, decision, cause=None)
            if decision.ignored:
                # A release has given its steps more time.
                changes.look_again(loaded)
            stuck += [(loaded, name) for name in decision.stuck]
        changes.cases += _deadline_cases(stuck)
        changes.write()
    if ids:
        log.warning("sagas.deadlines.missed", sagas=len(ids), held_up=sum(map(bool, excused.values())))
    return len(ids)


def _held_up(overdue: Sequence[Loaded], now: datetime) -> dict[UUID, frozenset[str]]:
    """Return the late steps of each saga whose command waits for the end of an outage, or is being called right now.

    A call in flight is about to say which: turning back under it would blame the step for the outage that it is just
    about to find. While a person has paused the engine itself, the answer of any step may be what waits.
    """
    late = {one.instance.id: engine.late_steps(one.definition, one.instance, now) for one in overdue}
    keys = [one.instance.key for one in overdue if late[one.instance.id]]
    held_up = held_up_by_outage(ordering_keys=keys) if keys else set()
    deaf = unheard(ordering_keys=keys, destination=SOURCE) if keys else set()
    if not held_up and not deaf:
        return {}
    commands = last_commands(ordering_keys=keys)
    found = {}
    for one in overdue:
        steps = one.instance.steps
        wires = {name: (wire_step(name, steps[name]), steps[name].direction) for name in late[one.instance.id]}
        sent = {name: commands.get((one.instance.id, *wire)) for name, wire in wires.items()}
        is_deaf = one.instance.key in deaf
        found[one.instance.id] = frozenset(name for name, sent_as in sent.items() if is_deaf or sent_as in held_up)
    return found


def _deadline_cases(stuck: Sequence[tuple[Loaded, str]]) -> list[CaseFile]:
    """Return the cases of steps without an answer, each with the command that may still be on its way."""
    if not stuck:
        return []
    commands = last_commands(ordering_keys=[loaded.instance.key for loaded, _ in stuck])
    cases = []
    for loaded, name in stuck:
        state = loaded.instance.steps[name]
        case = CaseFile(
            key=loaded.instance.key,
            error_class="DeadlinePassed",
            error=f"step {name} ({state.direction}) has had no answer since {state.started_at}",
            fingerprint=f"deadline:{loaded.definition.name}:{name}",
            saga_id=loaded.instance.id,
            step=name,
            direction=state.direction,
            message_id=commands.get((loaded.instance.id, wire_step(name, state), state.direction)),
        )
        cases.append(case)
    return cases


def _overdue(limit: int) -> list[UUID]:
    names, versions = zip(*definitions(), strict=True)
    with connection.cursor() as cursor:
        cursor.execute(sql.OVERDUE, [list(names), list(versions), limit])
        return [row[0] for row in cursor.fetchall()]
